"""`bindery doctor` on a real Docker Engine and real registries."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path

import pytest

from bindery.process import Finished, run
from db.migrate import upgrade
from tests.support import docker
from tests.support.postgres import postgres
from tests.support.registry import PASSWORD, USER, Auth, running_registry
from tests.support.service import environment


async def doctor(folder: Path, **variables: str) -> Finished:
    argv = [sys.executable, "-m", "bindery", "doctor", "--data-dir", str(folder / "data")]
    return await run(argv, env=environment() | variables, timeout_seconds=120)


def line(ended: Finished, name: str) -> str:
    """What was said of one thing."""
    return next((line for line in ended.stdout.decode().splitlines() if f" {name}: " in line), "")


def logins(folder: Path, host: str) -> str:
    """A folder of Docker's own configuration with the login for a registry."""
    place = folder / "docker"
    place.mkdir()
    login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    (place / "config.json").write_text(json.dumps({"auths": {host: {"auth": login}}}))
    return str(place)


async def test_it_says_how_docker_builds(tmp_path: Path) -> None:
    said = line(await doctor(tmp_path, **docker.engine().environment), "Docker")
    assert said.startswith("ok")
    version = docker.engine().run("version", "--format", "{{.Server.Version}}")
    assert f"engine {version}, client " in said
    assert "builds by" in said


@pytest.mark.parametrize(("engine", "code"), [("docker", 1), ("process", 0)])
async def test_an_engine_that_is_away_matters_only_to_who_uses_it(tmp_path: Path, engine: str, code: int) -> None:
    ended = await doctor(tmp_path, BINDERY_ENGINE=engine, DOCKER_HOST="unix:///nonexistent/docker.sock")
    assert "The Docker Engine does not answer" in line(ended, "Docker")
    assert b"DOCKER_HOST" in ended.stdout
    assert ended.returncode == code


@pytest.mark.parametrize("auth", ["none", "basic", "token"])
async def test_a_registry_takes_images_with_the_right_login(tmp_path: Path, auth: Auth) -> None:
    folder = tmp_path / "registry"
    folder.mkdir()
    async with running_registry(folder, auth) as registry:
        url = f"{registry.host}/images"
        nobody = await doctor(tmp_path, BINDERY_REGISTRY__URL=url, DOCKER_CONFIG=str(tmp_path))
        known = await doctor(tmp_path, BINDERY_REGISTRY__URL=url, DOCKER_CONFIG=logins(tmp_path, registry.host))
        assert registry.unfinished_uploads() == []
    assert line(known, "Registry") == f"ok      Registry: {registry.host} answers and takes images"
    if auth != "none":
        assert line(nobody, "Registry").startswith("missing")
        assert "login" in line(nobody, "Registry")
        assert nobody.returncode == 1


async def test_a_registry_that_is_away(tmp_path: Path) -> None:
    ended = await doctor(tmp_path, BINDERY_REGISTRY__URL="127.0.0.1:1/images")
    assert line(ended, "Registry").startswith("missing")
    assert ended.returncode == 1


async def test_without_a_registry_there_is_no_line(tmp_path: Path) -> None:
    assert line(await doctor(tmp_path), "Registry") == ""


async def test_it_says_whether_postgresql_fits_this_version(tmp_path: Path) -> None:
    with postgres().database() as url:
        before = line(await doctor(tmp_path, BINDERY_DATABASE__URL=url), "PostgreSQL")
        assert before.startswith("missing")
        assert "lacks the migrations 0001" in before
        upgrade(url)
        after = line(await doctor(tmp_path, BINDERY_DATABASE__URL=url), "PostgreSQL")
        assert after.startswith("ok")
        assert "up to date" in after
