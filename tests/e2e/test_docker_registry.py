"""The service on Docker with a registry behind it: what one machine built, another only pulls."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from bindery.process import run
from builder.engines.uv import find_uv
from registry.reference import binderhub_reference
from tests.support import docker
from tests.support.docker import Engine
from tests.support.docker_service import docker_serving
from tests.support.git_server import GitServer, Repository
from tests.support.jupyter import notebook
from tests.support.registry import Registry, running_registry
from tests.support.service import Service, Visit, environment

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    return docker.engine()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def registry(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Registry]:
    async with running_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def service(
    engine: Engine, registry: Registry, git_server: GitServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Service]:
    data_dir = tmp_path_factory.mktemp("shelved") / "data"
    where = {"BINDERY_REGISTRY__URL": f"{registry.host}/team"}
    async with docker_serving(engine, git_server, data_dir, "shelved", **where) as service:
        yield service


def fresh(git_server: GitServer) -> tuple[Repository, str]:
    name = f"shelved/{uuid.uuid4().hex[:12]}"
    return git_server.repository(name), name


async def output(visit: Visit, code: str) -> str:
    assert visit.last["phase"] == "ready", visit.text
    async with notebook(visit.last) as server, server.kernel() as kernel:
        return (await kernel.run(code)).text


async def test_files_are_composed_onto_an_environment_that_is_pushed_once(
    service: Service, git_server: GitServer, registry: Registry, engine: Engine
) -> None:
    repository, name = fresh(git_server)
    repository.commit({"requirements.txt": "tabulate\n", "a.txt": "first"})
    first = await service.stream(f"gh/{name}/HEAD").read()
    assert "pushing" in first.phases
    assert first.last["image"].startswith(f"{registry.host}/team/gh-shelved-")
    assert "first" in await output(first, "import tabulate; print(open('a.txt').read())")
    commit = repository.commit({"a.txt": "second"})
    second = await service.stream(f"gh/{name}/HEAD").read()
    assert "reused" in second.text
    assert "pushing" not in second.phases
    text = await output(
        second, "print(open('a.txt').read())\n!git log -1 --format=%H; git status --porcelain; pwd; id -u"
    )
    assert text.split() == ["second", commit, "/home/jovyan", "1000"]


async def test_an_image_that_this_machine_lost_is_pulled(
    service: Service, git_server: GitServer, engine: Engine
) -> None:
    repository, name = fresh(git_server)
    repository.commit({"requirements.txt": "tabulate\n", "postBuild": "#!/bin/sh\necho built > made.txt\n"})
    first = await service.stream(f"gh/{name}/HEAD").read()
    assert "built" in await output(first, "print(open('made.txt').read())")
    engine.run("rm", "--force", f"bindery-{first.last['url'].rstrip('/').rpartition('/')[2]}")
    engine.run("image", "rm", "--force", first.last["image"])
    second = await service.stream(f"gh/{name}/HEAD").read()
    assert second.phases == ["built", "launching", "ready"]
    assert "built" in await output(second, "print(open('made.txt').read())")


PROJECT = '[project]\nname = "thing"\nversion = "1"\nrequires-python = ">=3.9"\ndependencies = ["six<1.17"]\n'
SETUP = (
    "from setuptools import setup\nsetup(name='thing', version='1', py_modules=['thing'], install_requires=['six'])\n"
)
NOTEBOOK_SERVER = """
FROM {image}
RUN apt-get update && apt-get install -y --no-install-recommends python3-venv && python3 -m venv /opt/own \\
    && /opt/own/bin/pip install --no-cache-dir six jupyterlab
RUN useradd --create-home --uid 1000 visitor
ENV PATH=/opt/own/bin:$PATH
COPY --chown=1000:1000 . /home/visitor/
USER 1000
WORKDIR /home/visitor
"""
FILES: dict[str, dict[str, str]] = {
    "uv.lock": {"pyproject.toml": PROJECT},
    "setup.py": {"setup.py": SETUP, "thing.py": "import six\n"},
    "Dockerfile": {"Dockerfile": NOTEBOOK_SERVER},
    "binder folder": {
        "binder/requirements.txt": "six\n",
        "binder/apt.txt": "tree\n",
        "binder/postBuild": "#!/bin/sh\ntree --version\n",
        "binder/start": '#!/bin/sh\nexec "$@"\n',
    },
}


@pytest.mark.parametrize("kind", FILES)
async def test_every_kind_is_built_pushed_pulled_and_launched(
    service: Service, git_server: GitServer, engine: Engine, kind: str
) -> None:
    repository, name = fresh(git_server)
    files = {path: text.replace("{image}", docker.os_image()) for path, text in FILES[kind].items()}
    repository.commit({**files, "data.txt": f"data of {name}"})
    if kind == "uv.lock":
        uv = find_uv()
        assert uv is not None
        await run([uv, "lock", "--quiet"], env=environment(), timeout_seconds=120, cwd=repository.folder)
        repository.commit({}, "lock")
    first = await service.stream(f"gh/{name}/HEAD").read()
    assert first.last["phase"] == "ready", first.text[-2000:]
    engine.run("rm", "--force", f"bindery-{first.last['url'].rstrip('/').rpartition('/')[2]}")
    if engine.run("image", "ls", "--quiet", first.last["image"]):
        engine.run("image", "rm", "--force", first.last["image"])
    second = await service.stream(f"gh/{name}/HEAD").read()
    assert second.phases == ["built", "launching", "ready"]
    assert f"data of {name} six" in await output(second, "import six; print(open('data.txt').read(), six.__name__)")


async def test_another_machine_builds_nothing(
    service: Service, git_server: GitServer, engine: Engine, tmp_path: Path
) -> None:
    repository, name = fresh(git_server)
    repository.commit({"requirements.txt": "tabulate\n", "a.txt": "shared"})
    await service.stream(f"gh/{name}/HEAD").read()
    other = Service(tmp_path / "shelved" / "data", service.environment)
    other.data_dir.parent.mkdir()
    await other.start()
    try:
        visit = await other.stream(f"gh/{name}/HEAD").read()
        assert visit.last["phase"] == "ready", visit.text
        assert "is in the registry: reused" in visit.text, [event["message"] for event in visit.events]
        assert "Installed" not in visit.text
        engine.run("rm", "--force", f"bindery-{visit.last['url'].rstrip('/').rpartition('/')[2]}")
    finally:
        await other.stop()


async def test_images_of_a_binderhub_are_found_by_its_names(
    service: Service, git_server: GitServer, registry: Registry, engine: Engine, tmp_path: Path
) -> None:
    repository, name = fresh(git_server)
    commit = repository.commit({"requirements.txt": "tabulate\n", "a.txt": "made before"})
    made = await service.stream(f"gh/{name}/HEAD").read()
    assert made.last["phase"] == "ready", made.text
    prefix = f"{registry.host}/old/bh-"
    theirs = binderhub_reference(prefix, name.replace("/", "-"), commit)
    engine.run("tag", made.last["image"], theirs)
    engine.run("push", "--quiet", theirs)
    engine.run("image", "rm", "--force", theirs)
    settings = {**service.environment, "BINDERY_REGISTRY__BINDERHUB_PREFIX": prefix}
    heir = Service(tmp_path / "heir" / "data", settings)
    heir.data_dir.parent.mkdir()
    await heir.start()
    try:
        visit = await heir.stream(f"gh/{name}/HEAD").read()
        assert visit.phases == ["built", "launching", "ready"]
        assert visit.last["image"] == theirs
        assert "made before" in await output(visit, "print(open('a.txt').read())")
        engine.run("rm", "--force", f"bindery-{visit.last['url'].rstrip('/').rpartition('/')[2]}")
    finally:
        await heir.stop()
