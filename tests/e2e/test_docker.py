"""The same service on a real Docker Engine."""

from __future__ import annotations

import signal
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from tests.support import docker
from tests.support.docker import Engine
from tests.support.docker_service import containers, docker_serving
from tests.support.docker_sessions import EngineThatGoesAway
from tests.support.git_server import GitServer, Repository
from tests.support.jupyter import notebook
from tests.support.service import Service
from tests.support.small_engine import small_engine
from tests.support.wait import until

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture(scope="session")
def engine() -> Engine:
    return docker.engine()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def docker_service(
    engine: Engine, git_server: GitServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Service]:
    data_dir = tmp_path_factory.mktemp("docker") / "data"
    async with docker_serving(engine, git_server, data_dir, "e2e") as service:
        yield service


def fresh(git_server: GitServer) -> tuple[Repository, str]:
    name = f"e2e/{uuid.uuid4().hex[:12]}"
    return git_server.repository(name), name


async def test_the_log_says_what_builds(docker_service: Service, engine: Engine) -> None:
    version = engine.run("version", "--format", "{{.Server.Version}}")
    said = docker_service.log.read_text()
    assert f"engine {version}, client " in said
    assert "builds by" in said


async def test_system_packages_post_build_and_start(docker_service: Service, git_server: GitServer) -> None:
    repository, name = fresh(git_server)
    commit = repository.commit(
        {
            "requirements.txt": "six\n",
            "apt.txt": "tree\n",
            "postBuild": "#!/bin/bash\nset -e\npip install tabulate\ntree --version > made.txt\n",
            "start": '#!/bin/bash\nexport FROM_START=started\nexec "$@"\n',
            "data.txt": "from the repository",
        }
    )
    visit = await docker_service.stream(f"gh/{name}/HEAD").read()
    assert visit.last["phase"] == "ready", visit.text
    async with notebook(visit.last) as server, server.kernel() as kernel:
        done = await kernel.run(
            "import os, six, tabulate\n"
            "print(os.environ['FROM_START'], open('data.txt').read(), open('made.txt').read()[:6], os.getuid())\n"
            "!git log -1 --format=%H; which tree"
        )
    assert "started from the repository tree v 1000" in done.text, done.text
    assert commit in done.text
    assert "/usr/bin/tree" in done.text


async def test_a_commit_that_changes_only_the_notebook(docker_service: Service, git_server: GitServer) -> None:
    repository, name = fresh(git_server)
    repository.commit({"requirements.txt": "six\n", "a.ipynb": "{}"})
    first = await docker_service.stream(f"gh/{name}/HEAD").read()
    assert first.last["phase"] == "ready", first.text
    repository.commit({"a.ipynb": "{ }"})
    second = await docker_service.stream(f"gh/{name}/HEAD").read()
    assert second.last["phase"] == "ready", second.text
    assert "reused" in second.text
    assert "Installed" not in second.text


async def test_what_cannot_be_installed_says_why(docker_service: Service, git_server: GitServer) -> None:
    repository, name = fresh(git_server)
    repository.commit({"requirements.txt": "numpy==99.99\n"})
    visit = await docker_service.stream(f"gh/{name}/HEAD").read()
    assert visit.last["code"] == "unsatisfiable_requirements", visit.last
    assert "numpy" in visit.last["message"]


async def test_a_session_outlives_its_service(docker_service: Service, git_server: GitServer, engine: Engine) -> None:
    repository, name = fresh(git_server)
    repository.commit({"requirements.txt": "six\n"})
    visit = await docker_service.stream(f"gh/{name}/HEAD").read()
    assert visit.last["phase"] == "ready", visit.text
    path = visit.last["url"].partition("/user/")[2]
    await docker_service.stop(signal.SIGKILL)
    await docker_service.start()
    async with notebook({**visit.last, "url": f"{docker_service.url}user/{path}"}) as server:
        assert (await server.get("api/status"))["kernels"] == 0
    container = f"bindery-{path.rstrip('/')}"
    assert container in containers(engine, "e2e")
    engine.run("kill", container)

    async def gone() -> bool:
        url = f"{docker_service.url}user/{path}lab"
        async with aiohttp.ClientSession() as client, client.get(url, headers={"Accept": "text/html"}) as response:
            return response.status == 424

    await until(gone, 30, "the service notices")
    await until(lambda: container not in containers(engine, "e2e"), 30, "and cleans up")


async def test_auto_takes_docker_where_it_answers(docker_service: Service, tmp_path: Path) -> None:
    service = Service(tmp_path / "data", {**docker_service.environment, "BINDERY_ENGINE": "auto"})
    await service.start()
    await service.stop()
    alone = {**docker_service.environment, "BINDERY_ENGINE": "auto", "DOCKER_HOST": "unix:///nonexistent.sock"}
    without = Service(tmp_path / "other", alone)
    await without.start()
    async with aiohttp.ClientSession() as client, client.get(f"{without.url}versions") as response:
        assert (await response.json())["builder_info"]["engine"] == "process"
    await without.stop()


async def test_an_engine_that_goes_away_in_a_build_and_comes_back(
    docker_service: Service, git_server: GitServer, engine: Engine, tmp_path: Path
) -> None:
    repository, name = fresh(git_server)
    repository.commit({"Dockerfile": f"FROM {docker.os_image()}\nRUN echo begun && sleep 60 && echo {name}\n"})
    async with EngineThatGoesAway() as away:
        environment = {**docker_service.environment, "DOCKER_HOST": away.host, "BINDERY_ALLOW_BUILD_ONLY": "true"}
        service = Service(tmp_path / "data", environment)
        await service.start()
        try:
            link = service.stream(f"gh/{name}/HEAD?build_only=true")
            await link.read(until_text="begun")
            await away.go()
            failed = await service.stream(link.url.partition("build/")[2]).read()
            assert failed.last["code"] == "tool_missing", failed.text
            assert "Docker Engine does not answer" in failed.last["message"]
            await until(lambda: not list((service.data_dir / "builds").glob("*")), 30, "nothing is left")
            await away.come_back()
            repository.commit({"Dockerfile": f"FROM {docker.os_image()}\nRUN echo {name}\n"})
            again = await service.stream(f"gh/{name}/HEAD?build_only=true").read()
            assert again.last["phase"] == "ready", again.text
            engine.run("image", "rm", again.last["image"])
        finally:
            await service.stop()


async def test_a_build_that_fills_the_disk_of_the_engine(
    docker_service: Service, git_server: GitServer, tmp_path: Path
) -> None:
    repository, name = fresh(git_server)
    base = docker.os_image()
    repository.commit({"Dockerfile": f"FROM {base}\nRUN head -c 900M /dev/zero > /large\n"})
    with small_engine(600) as small:
        environment = {**docker_service.environment, "DOCKER_HOST": small.host, "BINDERY_ALLOW_BUILD_ONLY": "true"}
        service = Service(tmp_path / "data", environment)
        await service.start()
        try:
            failed = await service.stream(f"gh/{name}/HEAD?build_only=true").read()
            assert failed.last["code"] == "disk_full", failed.text
            assert small.run("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split() == [base]
            repository.commit({"Dockerfile": f"FROM {base}\nRUN echo small > /small\n"})
            again = await service.stream(f"gh/{name}/HEAD?build_only=true").read()
            assert again.last["phase"] == "ready", again.text
        finally:
            await service.stop()
