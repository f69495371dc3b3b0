"""The service on Docker with a registry behind it: what one machine built, another only pulls."""

from __future__ import annotations

import contextlib
import os
import signal
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from bindery.process import run
from builder.engines.docker_cli import find_docker
from builder.engines.docker_images import drafts
from builder.engines.uv import find_uv
from registry.reference import binderhub_reference
from tests.support import docker
from tests.support.docker import Engine
from tests.support.docker_service import docker_serving
from tests.support.git_server import GitServer, Repository
from tests.support.jupyter import notebook
from tests.support.registry import Registry, running_registry
from tests.support.registry_faults import (
    Fault,
    FaultyRegistry,
    RegistryFails,
    RegistryGoesDown,
    RegistryRefusesPush,
    RegistryTooBusy,
    faulty,
)
from tests.support.service import Service, Visit, environment
from tests.support.wait import until

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture(scope="module")
def engine() -> Engine:
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
    where = {"BINDERY_REGISTRY__URL": f"{registry.host}/team", "BINDERY_ALLOW_BUILD_ONLY": "true"}
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


@pytest_asyncio.fixture(loop_scope="session")
async def faulty_registry(registry: Registry) -> AsyncIterator[FaultyRegistry]:
    """The same registry with what goes wrong."""
    async with faulty(registry) as proxy:
        yield proxy


@pytest_asyncio.fixture(loop_scope="session")
async def frail(service: Service, faulty_registry: FaultyRegistry, tmp_path: Path) -> AsyncIterator[Service]:
    """A service that knows the registry by its faults; the environments of the other one are there."""
    where = {"BINDERY_REGISTRY__URL": f"{faulty_registry.host}/team"}
    async with running(Service(tmp_path / "frail", {**service.environment, **where})) as found:
        yield found


@contextlib.asynccontextmanager
async def running(service: Service) -> AsyncIterator[Service]:
    await service.start()
    try:
        yield service
    finally:
        await service.stop()


async def build(service: Service, name: str) -> Visit:
    """Build without a session."""
    return await service.stream(f"gh/{name}/HEAD?build_only=true").read()


FAULTS: dict[str, tuple[Fault, str]] = {
    "no login": (RegistryRefusesPush("blob"), "registry_refused"),
    "broken": (RegistryFails("manifest"), "registry_unreachable"),
    "full": (RegistryFails("blob", full=True), "registry_full"),
    "busy": (RegistryTooBusy(times=10**6, retry_after="100"), "registry_busy"),
    "down": (RegistryGoesDown("blob"), "registry_unreachable"),
}


async def known(service: Service, git_server: GitServer) -> tuple[Repository, str]:
    """A repository that was built, so that its environment is in the registry, and its name."""
    repository, name = fresh(git_server)
    repository.commit({"requirements.txt": "tabulate\n"})
    assert (await build(service, name)).last["phase"] == "ready"
    return repository, name


async def test_a_registry_that_fails_in_an_upload_fails_the_build_and_keeps_nothing(
    service: Service, frail: Service, git_server: GitServer, faulty_registry: FaultyRegistry, registry: Registry
) -> None:
    repository, name = await known(service, git_server)
    first = await build(frail, name)
    assert "is in the registry: reused" in first.text
    image, _, kept = first.last["image"].rpartition(":")
    for title, (fault, code) in FAULTS.items():
        repository.commit({"a.txt": title})
        faulty_registry.faults = [fault]
        failed = await build(frail, name)
        faulty_registry.faults = []
        assert (failed.last["phase"], failed.last["code"]) == ("failed", code), (title, failed.text)
        assert tags(registry, image) == [kept], title
        # What is down cannot be told that an upload is given up: it forgets that itself.
        assert title == "down" or registry.unfinished_uploads() == [], title
    again = await build(frail, name)
    assert again.last["phase"] == "ready", again.text
    assert tags(registry, image) == sorted([kept, again.last["image"].rpartition(":")[2]])


async def test_a_busy_registry_is_waited_for(
    service: Service, frail: Service, git_server: GitServer, faulty_registry: FaultyRegistry
) -> None:
    _repository, name = await known(service, git_server)
    faulty_registry.faults = [RegistryTooBusy(times=2)]
    visit = await build(frail, name)
    assert visit.last["phase"] == "ready", visit.text


async def test_an_environment_that_cannot_be_pushed_is_kept_and_pushed_the_next_time(
    service: Service, frail: Service, git_server: GitServer, faulty_registry: FaultyRegistry
) -> None:
    repository, name = await known(service, git_server)
    repository.commit({"requirements.txt": f"tabulate\n# {name}\n"})
    faulty_registry.faults = [RegistryRefusesPush("begin")]
    failed = await build(frail, name)
    assert failed.last["code"] == "registry_refused", failed.text
    assert "could not be pushed" in failed.last["message"]
    again = await build(service, name)
    assert again.last["phase"] == "ready", again.text
    assert "is known, built" in again.text
    assert "pushing" in again.phases


async def test_a_build_survives_that_its_service_is_killed_in_each_of_its_states(
    service: Service, git_server: GitServer, registry: Registry, tmp_path: Path
) -> None:
    repository, name = fresh(git_server)
    repository.commit({"requirements.txt": f"tabulate\n# {name}\n", "large": os.urandom(2**24)})
    killed = Service(tmp_path / "data", {**service.environment, "BINDERY_BUILD__MAX_ATTEMPTS": "9"})
    link = f"gh/{name}/HEAD?build_only=true"
    for state in ("Fetching", "Plan:", "Building environment", "Pushing to", "Adding the repository's files"):
        await killed.start()
        visit = await killed.stream(link).read(until_text=state)
        assert state in visit.last["message"], visit.text
        await killed.stop(signal.SIGKILL)
    async with running(killed):
        visit = await build(killed, name)
        assert visit.last["phase"] == "ready", visit.text
        image, _, tag = visit.last["image"].rpartition(":")
        assert tags(registry, image) == [tag]
        await until(lambda: not list((killed.data_dir / "builds").glob("*")), 30, "nothing is left of the build")
        assert await drafts(await find_docker(killed.environment), killed.data_dir) == set()


def tags(registry: Registry, image: str) -> list[str]:
    """The tags of an image's repository, as the registry has them on its disk."""
    folder = registry.root / "docker/registry/v2/repositories" / image.partition("/")[2] / "_manifests/tags"
    return sorted(path.parent.parent.name for path in folder.glob("*/current/link"))
