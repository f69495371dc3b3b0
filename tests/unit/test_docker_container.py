"""How containers are described, engines addressed and logs read."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from bindery.docker_api import Endpoint
from bindery.errors import EngineUnavailable
from bindery.settings import SessionSettings
from launcher.spawners import docker_log
from launcher.spawners.base import SessionRequest
from launcher.spawners.docker_container import Place, container_name, describe, fits, user

TOKEN = "a-very-secret-token"


def described(**changes: Any) -> dict[str, Any]:
    wanted = SessionRequest("example-1", "example/image:1", "/user/example-1/", TOKEN, {"BINDER_REQUEST": "v2/gh/a/b"})
    place = Place("instance", "bindery0", changes.pop("published", False), "*", {"HTTPS_PROXY": "http://proxy:1"})
    return describe(wanted, place, SessionSettings(**changes), as_user="jovyan")


@pytest.mark.parametrize("name", ["nobody", "example-1", "a.b_c-d", "A" * 60])
def test_a_session_has_a_container_of_its_name(name: str) -> None:
    assert container_name(name) == f"bindery-{name}"


@pytest.mark.parametrize("name", ["", "-a", "../../etc", "a/b", "a b", "a\n", "A" * 61, "a?force=1", "\u00e4"])
def test_names_that_no_container_can_have(name: str) -> None:
    assert container_name(name) is None


@pytest.mark.parametrize("named", ["", "0", "root", "00", "0:0", "root:users", ":5"])
def test_root_becomes_an_ordinary_user(named: str) -> None:
    assert user({"Config": {"User": named}}) == "1000:1000"


@pytest.mark.parametrize("named", ["jovyan", "1000", "1001:0", "rooted", "10"])
def test_an_ordinary_user_stays(named: str) -> None:
    assert user({"Config": {"User": named}}) == named


def test_the_token_is_in_the_variables_only() -> None:
    found = described()
    variables = found.pop("Env")
    assert f"JUPYTER_TOKEN={TOKEN}" in variables
    assert TOKEN not in str(found)


def test_what_a_service_gives_to_all_sessions_cannot_hide_what_one_is_given() -> None:
    wanted = SessionRequest("a", "b", "/", TOKEN, {"BINDER_REQUEST": "right"})
    place = Place("i", "n", False, "", {"BINDER_REQUEST": "wrong", "JUPYTER_TOKEN": "wrong"})
    variables = describe(wanted, place, SessionSettings(), as_user="")["Env"]
    assert {"BINDER_REQUEST=right", f"JUPYTER_TOKEN={TOKEN}"} <= set(variables)
    assert "wrong" not in str(variables)


def test_a_port_is_published_on_loopback_only() -> None:
    assert described()["HostConfig"]["PortBindings"] == {}
    bound = described(published=True)["HostConfig"]["PortBindings"]
    assert bound == {"8888/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}


def test_a_container_fits_that_runs_or_was_made_from_the_same_words() -> None:
    wanted = described()

    def found(status: str, labels: dict[str, str]) -> dict[str, Any]:
        return {"State": {"Status": status, "Running": status == "running"}, "Config": {"Labels": labels}}

    assert fits(found("running", {}), wanted)
    assert fits(found("created", wanted["Labels"]), wanted)
    assert not fits(found("created", described(cpus=1)["Labels"]), wanted)
    assert not fits(found("exited", wanted["Labels"]), wanted)


def test_engines_are_addressed_as_by_dockers_own_client() -> None:
    assert Endpoint.of("unix:///run/d.sock", {"DOCKER_HOST": "tcp://other:1"}).socket == "/run/d.sock"
    assert Endpoint.of("", {"DOCKER_HOST": "tcp://engine:2375"}).url == "http://engine:2375"
    secure = Endpoint.of("tcp://engine:2376", {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/certificates"})
    assert (secure.url, str(secure.certificates)) == ("https://engine:2376", "/certificates")


@pytest.mark.parametrize("host", ["ssh://engine", "engine:2375", "tcp://", "npipe:////./pipe/docker_engine"])
def test_addresses_that_cannot_be_used_are_refused(host: str) -> None:
    with pytest.raises(EngineUnavailable, match="cannot be used"):
        Endpoint.of(host, {})


def frame(stream: int, text: bytes) -> bytes:
    return struct.pack(">BxxxL", stream, len(text)) + text


def test_both_streams_of_a_log_are_read_in_their_order() -> None:
    stream = frame(1, b"first\n") + frame(2, b"second\nth") + frame(1, b"ird\n")
    assert docker_log.read(stream, 2, "") == "second\nthird\n"
    assert docker_log.read(stream, 0, "") == ""


def test_a_log_shows_no_token() -> None:
    stream = frame(2, f"http://x/?token=other&a=b {TOKEN}\n".encode())
    assert docker_log.read(stream, 9, TOKEN) == "http://x/?token=[token]&a=b [token]\n"


def test_a_log_that_is_cut_or_binary_is_read_as_far_as_it_goes() -> None:
    whole = frame(1, b"one\n") + frame(1, b"\xff\xfe two\n")
    assert docker_log.read(whole, 9, "") == "one\n\ufffd\ufffd two\n"
    for length in range(len(whole)):
        assert "one\n\ufffd\ufffd two\n".startswith(docker_log.read(whole[:length], 9, ""))
