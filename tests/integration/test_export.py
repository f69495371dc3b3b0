"""What `bindery export-dockerfile` writes is built by `docker build` alone: real Docker, real packages."""

from __future__ import annotations

import contextlib
import json
import shlex
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from bindery.process import Finished, run
from bindery.settings import BuildSettings, Settings
from builder import detect
from builder.engines.base import BuildJob, EnvironmentInfo
from builder.engines.docker import DockerEngine
from builder.fetch import read_tree
from tests.support import docker
from tests.support.git_server import Repository, git
from tests.support.service import environment

BUILD_SECONDS = 600.0
#: Not the newest: nobody would choose it who was not asked to.
OLDER_SIX = "1.15.0"


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    folder = tmp_path / "people" / "thing"
    folder.mkdir(parents=True)
    git(folder, "init", "-q")
    return Repository(folder)


@pytest.fixture
def image() -> Iterator[str]:
    """A name for an image that goes with the test."""
    name = f"bindery-test-export:{uuid.uuid4().hex[:12]}"
    yield name
    with contextlib.suppress(subprocess.CalledProcessError):
        docker.engine().run("image", "rm", name)


async def bindery(*words: str | Path, **variables: str) -> Finished:
    own = {"BINDERY_BUILD__OS_IMAGE": docker.os_image(), "COLUMNS": "400"}
    argv = [sys.executable, "-m", "bindery", *words]
    variables = environment() | docker.engine().environment | own | variables
    return await run(argv, env=variables, timeout_seconds=BUILD_SECONDS)


async def exported(repository: Repository, to: Path, files: Mapping[str, str | bytes]) -> str:
    """Commit and export; what was printed."""
    repository.commit(files)
    ended = await bindery("export-dockerfile", repository.folder, "--output", to, "--data-dir", to.parent / "data")
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.decode()


async def docker_build(*words: str) -> None:
    """What somebody types who has Docker and nothing else."""
    variables = {**docker.engine().environment, "DOCKER_BUILDKIT": "1"}
    ended = await run([docker.engine().client, "build", *words], env=variables, timeout_seconds=BUILD_SECONDS)
    assert ended.returncode == 0, ended.stderr.decode()[-3000:]


async def environment_built(repository: Repository, data_dir: Path) -> EnvironmentInfo:
    """The environment that the docker engine has made for a repository's last commit."""
    settings = Settings(data_dir=data_dir, build=BuildSettings(os_image=docker.os_image()))
    engine = await DockerEngine.open(settings, docker.engine().environment)
    bare, commit = repository.folder / ".git", repository.git("rev-parse", "HEAD")
    plan = detect.plan(await read_tree(bare, commit, settings.fetch), engine.context)
    job = BuildJob(f"export-{uuid.uuid4().hex[:8]}", "unused:1", plan, bare, commit, "https://example.org/a/b", "")
    async for _ in engine.environment(job):
        pass
    found = await engine.find(plan.environment_key)
    assert found is not None
    return found


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def naming_this_machine(place: Path, folder: Path) -> list[Path]:
    """Files that tell of a place on this machine, or of a service's secret."""
    secret = place / "data" / "cache" / "docker-caches"
    tells = [str(place).encode(), str(Path.cwd()).encode(), *([secret.read_bytes()] if secret.exists() else [])]
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "uv"]
    return [path for path in files if any(tell in path.read_bytes() for tell in tells)]


async def test_the_image_is_rebuilt_with_the_same_versions(repository: Repository, image: str, tmp_path: Path) -> None:
    files = {
        "requirements.txt": "six\n",
        "postBuild": "#!/bin/bash\nset -e\npython -c 'import six' && echo made > made.txt\n",
        "start": '#!/bin/sh\nexport FROM_START=started\nexec "$@"\n',
    }
    repository.commit(files)
    known = await environment_built(repository, tmp_path / "data")
    await exported(repository, tmp_path / "out", {})
    commit = repository.git("rev-parse", "HEAD")
    assert (tmp_path / "out" / "environment.lock").read_text() == known.lock

    # Had the lock an older version, that would be the one.
    path = tmp_path / "out" / "environment" / "step" / "step.json"
    step = json.loads(path.read_text())
    assert step["preferred"] == known.lock
    older = [f"six=={OLDER_SIX}" if line.startswith("six==") else line for line in known.lock.splitlines()]
    path.write_text(json.dumps({**step, "preferred": "\n".join(older)}))

    await docker_build("-t", image, str(tmp_path / "out"))
    script = (
        "python -c 'import six; print(six.__version__)' && jupyter lab --version && cat made.txt && "
        "echo $FROM_START && whoami && git log -1 --format=%H"
    )
    said = docker.engine().run("run", "--rm", "--network", "none", image, "bash", "-c", script).splitlines()
    assert said[0] == OLDER_SIX
    assert said[1].startswith("4.")
    assert said[2:] == ["made", "started", "jovyan", commit]


async def test_nothing_names_this_machine(repository: Repository, tmp_path: Path) -> None:
    said = await exported(repository, tmp_path / "out", {"requirements.txt": "six\n", "a.txt": "a"})
    assert f"docker build -t NAME {tmp_path}/out" in said
    text = (tmp_path / "out" / "Dockerfile").read_text()
    assert "docker build -t NAME FOLDER" in text
    assert "docker run -p 8888:8888 NAME" in text
    assert naming_this_machine(tmp_path, tmp_path / "out") == []
    assert names(tmp_path) == ["data", "out", "people"]


async def test_a_repositorys_own_dockerfile_stays_as_it_is(repository: Repository, image: str, tmp_path: Path) -> None:
    own = f"FROM {docker.os_image()}\nARG NB_USER\nCOPY data.txt /data.txt\nRUN echo $NB_USER > /user.txt\n"
    said = await exported(repository, tmp_path / "out", {"binder/Dockerfile": own, "data.txt": "from the repository"})
    assert (tmp_path / "out" / "binder" / "Dockerfile").read_text() == own
    command = next(line for line in said.splitlines() if line.startswith("docker build"))
    await docker_build(*[image if word == "NAME" else word for word in shlex.split(command)[2:]])
    said = docker.engine().run("run", "--rm", "--network", "none", image, "cat", "/data.txt", "/user.txt")
    assert said == "from the repositoryjovyan"


async def test_scripts_of_repo2docker_become_stages(repository: Repository, tmp_path: Path) -> None:
    files = {"environment.yml": "dependencies: [python=3.11, six]\n", "postBuild": "#!/bin/sh\n"}
    await exported(repository, tmp_path / "out", files)
    text = (tmp_path / "out" / "Dockerfile").read_text()
    stages = [line for line in text.splitlines() if line.startswith("FROM ")]
    assert stages == [f"FROM {docker.os_image()} AS pack", "FROM pack AS environment", "FROM environment AS image"]
    assert (tmp_path / "out" / "environment" / "files" / "environment.yml").exists()
    assert (tmp_path / "out" / "image" / "content" / ".git").is_dir()


async def test_a_folder_that_is_there_is_left_alone(repository: Repository, tmp_path: Path) -> None:
    repository.commit({"requirements.txt": ""})
    ended = await bindery("export-dockerfile", repository.folder, "--output", tmp_path, "--data-dir", tmp_path / "data")
    assert ended.returncode == 1
    assert b"is there already" in ended.stderr
    assert b"--output" in ended.stderr


async def test_without_an_engine_it_says_so(repository: Repository, tmp_path: Path) -> None:
    repository.commit({"requirements.txt": ""})
    host = "unix:///nonexistent/docker.sock"
    out, data = tmp_path / "out", tmp_path / "data"
    ended = await bindery("export-dockerfile", repository.folder, "--output", out, "--data-dir", data, DOCKER_HOST=host)
    assert ended.returncode == 1
    assert b"The Docker Engine does not answer" in ended.stderr
    assert not out.exists()
