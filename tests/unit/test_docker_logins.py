"""Logins from Docker's config.json and its helpers."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from bindery.errors import RegistryRefused, ToolMissing
from registry.auth import Challenge, parse_challenges
from registry.credentials import Credential, DockerConfig
from registry.names import Repository

HOST = "r.example.org"


def _auth(username: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{username}:{password}".encode()).decode()}


def _helper(folder: Path, name: str, script: str) -> None:
    program = folder / f"docker-credential-{name}"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


async def _find(folder: Path, config: Any, path: str = "team/img", host: str = HOST, seconds: float = 20) -> Any:
    (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    environ = {"DOCKER_CONFIG": str(folder), "PATH": f"{folder}:{os.environ['PATH']}"}
    found = await DockerConfig(environ, timeout_seconds=seconds).find(Repository(host, path))
    return found and (
        found.username,
        found.password.get_secret_value(),
        found.identity_token and found.identity_token.get_secret_value(),
    )


async def test_without_a_file_there_is_no_login(tmp_path: Path) -> None:
    assert await DockerConfig({"HOME": str(tmp_path)}).find(Repository(HOST, "a")) is None


async def test_the_file_is_found_in_the_home(tmp_path: Path) -> None:
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text(json.dumps({"auths": {HOST: _auth("me", "pw")}}))
    found = await DockerConfig({"HOME": str(tmp_path)}).find(Repository(HOST, "a"))
    assert found is not None
    assert found.username == "me"


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        (_auth("me", "a:b"), ("me", "a:b", None)),
        ({"username": "me", "password": "pw"}, ("me", "pw", None)),
        (_auth("me", "") | {"identitytoken": "it"}, ("me", "", "it")),
        ({}, None),
        ({"auth": ""}, None),
    ],
)
@pytest.mark.parametrize("key", [HOST, f"https://{HOST}", f"https://{HOST}/v2/", f"{HOST}/team"])
async def test_an_entry_is_read(tmp_path: Path, entry: dict[str, str], found: object, key: str) -> None:
    assert await _find(tmp_path, {"auths": {key: entry}}) == found


async def test_the_most_exact_entry_wins(tmp_path: Path) -> None:
    auths = {HOST: _auth("host", ""), f"{HOST}/team": _auth("team", ""), f"{HOST}/team/img": _auth("img", "")}
    config = {"auths": auths}
    assert [(await _find(tmp_path, config, path))[0] for path in ("team/img", "team/other", "else", "teams")] == [
        "img",
        "team",
        "host",
        "host",
    ]


async def test_another_port_is_another_registry(tmp_path: Path) -> None:
    assert await _find(tmp_path, {"auths": {f"{HOST}:5000": _auth("me", "pw")}}) is None


async def test_docker_hub_is_found_under_its_old_name(tmp_path: Path) -> None:
    config = {"auths": {"https://index.docker.io/v1/": _auth("me", "pw")}}
    assert await _find(tmp_path, config, "library/debian", "docker.io") == ("me", "pw", None)


async def test_a_helper_of_the_host_is_asked(tmp_path: Path) -> None:
    _helper(tmp_path, "mine", """read server; printf '{"Username": "me", "Secret": "for %s"}' "$server" """)
    config = {"credHelpers": {HOST: "mine"}, "auths": {HOST: _auth("other", "x")}, "credsStore": "missing"}
    assert await _find(tmp_path, config) == ("me", f"for {HOST}", None)


async def test_a_store_that_knows_nothing_leaves_it_to_the_file(tmp_path: Path) -> None:
    _helper(tmp_path, "store", "echo 'credentials not found in native keychain'; exit 1")
    config = {"credsStore": "store", "auths": {HOST: _auth("me", "pw")}}
    assert await _find(tmp_path, config) == ("me", "pw", None)


async def test_a_store_gives_identity_tokens(tmp_path: Path) -> None:
    _helper(tmp_path, "store", """printf '{"Username": "<token>", "Secret": "it"}'""")
    assert await _find(tmp_path, {"credsStore": "store"}) == ("", "", "it")


async def test_docker_hub_has_its_old_name_for_helpers(tmp_path: Path) -> None:
    _helper(tmp_path, "store", """read server; printf '{"Username": "me", "Secret": "%s"}' "$server" """)
    found = await _find(tmp_path, {"credsStore": "store"}, "library/debian", "docker.io")
    assert found[1] == "https://index.docker.io/v1/"


async def test_a_missing_helper_is_named(tmp_path: Path) -> None:
    with pytest.raises(ToolMissing, match="docker-credential-desktop"):
        await _find(tmp_path, {"credsStore": "desktop"})


@pytest.mark.parametrize("name", ["../evil", "a b", "-x", "a/b"])
async def test_a_helper_is_a_plain_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(RegistryRefused):
        await _find(tmp_path, {"credHelpers": {HOST: name}})


async def test_a_helper_that_hangs_is_ended(tmp_path: Path) -> None:
    _helper(tmp_path, "slow", "exec sleep 60")
    with pytest.raises(RegistryRefused, match="did not end within"):
        await _find(tmp_path, {"credHelpers": {HOST: "slow"}}, seconds=0.2)


@pytest.mark.parametrize("answer", ["hush", "{}", '{"Username": "hush"}', "[]"])
async def test_what_a_helper_says_reaches_no_message(tmp_path: Path, answer: str) -> None:
    _helper(tmp_path, "odd", f"echo '{answer}'")
    with pytest.raises(RegistryRefused) as caught:
        await _find(tmp_path, {"credHelpers": {HOST: "odd"}})
    assert "hush" not in caught.value.message


@pytest.mark.parametrize("text", ["{", "[]", "null", f'{{"auths": {{"{HOST}": {{"auth": "***"}}}}}}'])
async def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(RegistryRefused):
        await _find(tmp_path, text)


@pytest.mark.parametrize("config", [{"auths": []}, {"auths": {HOST: 3}}, {"credHelpers": None}, {"credsStore": 3}])
async def test_odd_parts_of_a_file_are_no_logins(tmp_path: Path, config: object) -> None:
    assert await _find(tmp_path, config) is None


async def test_secrets_are_never_printed(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps({"auths": {HOST: _auth("me", "hush") | {"identitytoken": "hush"}}})
    )
    found = await DockerConfig({"DOCKER_CONFIG": str(tmp_path)}).find(Repository(HOST, "a"))
    assert isinstance(found, Credential)
    assert "hush" not in repr(found) + str(found) + f"{found!r:>10}"


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ('Basic realm="x"', [Challenge("basic", {"realm": "x"})]),
        (
            'Bearer realm="https://a/t?x=1",service="s",scope="repository:a:pull,push"',
            [Challenge("bearer", {"realm": "https://a/t?x=1", "service": "s", "scope": "repository:a:pull,push"})],
        ),
        (
            'bearer REALM=https://a , service = "s\\"q", Basic realm="y, z"',
            [Challenge("bearer", {"realm": "https://a", "service": 's"q'}), Challenge("basic", {"realm": "y, z"})],
        ),
        ("Negotiate", [Challenge("negotiate", {})]),
        ('Negotiate, Basic realm="x"', [Challenge("negotiate", {}), Challenge("basic", {"realm": "x"})]),
        ("", []),
        ("=,=", []),
    ],
)
def test_challenges_are_read(header: str, found: list[Challenge]) -> None:
    assert parse_challenges([header]) == found
