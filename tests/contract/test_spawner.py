"""What every spawner promises, over all of them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from bindery.errors import BinderyError
from bindery.sandbox import find_sandbox, no_sandbox
from bindery.settings import SessionSettings
from launcher.spawners.base import Address, Running, SessionRequest, Spawner
from launcher.spawners.kubernetes import KubernetesSpawner
from launcher.spawners.leftovers import processes_of
from launcher.spawners.process import ProcessSpawner
from tests.support.cluster import cluster, cluster_registry
from tests.support.cluster_images import in_registry, published
from tests.support.cluster_roles import remove_pods
from tests.support.docker_sessions import docker_spawner
from tests.support.notebook_server import NotebookServer
from tests.support.session_images import ENVIRONMENT, HOME, SessionImages, make_session_images
from tests.support.stored_images import StoredImages, make_stored_images

#: Seconds until a condition that does not come true fails the test.
LIMIT_SECONDS = 20.0
#: Seconds that a server's place may take, with its image on the way there.
PLACE_SECONDS = 120.0


@dataclass(frozen=True)
class Subject:
    """A spawner under test, and the images that it can start.

    `environment` and `folder` are what the paths of a session's Python and work tree have in them; nothing that a
    session installs may appear in `stores`.
    """

    spawner: Spawner
    images: StoredImages | SessionImages
    environment: Callable[[str], str]
    folder: Callable[[str], str]
    stores: tuple[Path, ...] = ()
    #: An image that nobody has.
    missing: str = "example/none:1"
    #: What an image's README is called.
    title: Callable[[str], str] = "# {}".format

    async def start(self, image: str, name: str | None = None) -> tuple[str, NotebookServer]:
        """Start a session and wait until it answers."""
        wanted = request(image, name)
        await self.spawner.start(wanted)
        return wanted.name, await self.reach(wanted)

    async def reach(self, wanted: SessionRequest) -> NotebookServer:
        """The server of a session that was asked for, once it answers."""
        address = await placed(self.spawner, wanted.name)
        return await NotebookServer(address, wanted.base_url, wanted.token).wait()


def request(image: str, name: str | None = None) -> SessionRequest:
    name = name or f"example-{secrets.token_hex(4)}"
    return SessionRequest(name, image, f"/user/{name}/", secrets.token_urlsafe(16), {"BINDER_REQUEST": "v2/gh/a/b/c"})


async def placed(spawner: Spawner, name: str) -> Address:
    """Where a session that was asked for runs; raises why it does not."""
    async with asyncio.timeout(PLACE_SECONDS):
        while True:
            status = await spawner.poll(name)
            if status.failure is not None:
                raise status.failure
            assert status.running in (Running.STARTING, Running.RUNNING)
            address = await spawner.address(name)
            if address is not None:
                return address
            await asyncio.sleep(0.01)


async def ended(spawner: Spawner, name: str) -> None:
    async with asyncio.timeout(LIMIT_SECONDS):
        while (await spawner.poll(name)).running in (Running.STARTING, Running.RUNNING):
            await asyncio.sleep(0.01)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> StoredImages:
    return make_stored_images(tmp_path_factory.mktemp("data"))


async def process_spawner(images: StoredImages, *, sandboxed: bool) -> ProcessSpawner:
    async def server() -> Path:
        return images.server

    sandbox = no_sandbox("not wanted")
    if sandboxed:
        sandbox = await find_sandbox(enabled=True, hidden=[images.store.root])
        assert sandbox.active, sandbox.reason
    return ProcessSpawner(images.store, server=server, sandbox=sandbox, allow_origins=["*"])


@pytest.fixture(scope="module")
def container_images() -> SessionImages:
    return make_session_images()


async def processes(
    request: pytest.FixtureRequest, *, sandboxed: bool
) -> tuple[Subject, AbstractAsyncContextManager[Spawner]]:
    images: StoredImages = request.getfixturevalue("images")
    spawner = await process_spawner(images, sandboxed=sandboxed)
    stores = tuple(images.store.root / folder for folder in ("environments", "servers", "images"))
    return Subject(spawner, images, "{}/env".format, "{}/repo".format, stores), spawner


def containers(request: pytest.FixtureRequest) -> tuple[Subject, AbstractAsyncContextManager[Spawner]]:
    images: SessionImages = request.getfixturevalue("container_images")
    spawner = docker_spawner(SessionSettings(), instance=f"contract-{secrets.token_hex(4)}", allow_origins=["*"])
    return Subject(spawner, images, lambda name: ENVIRONMENT, lambda name: HOME), spawner


def pods(request: pytest.FixtureRequest) -> tuple[Subject, AbstractAsyncContextManager[Spawner]]:
    settings = cluster().settings(instance=f"contract-{secrets.token_hex(4)}")
    images: SessionImages = request.getfixturevalue("container_images")
    titles = {published(image): f"# {image}" for image in (images.shared, images.joined)}
    missing = f"{cluster_registry()}/example/none:1"
    spawner = KubernetesSpawner(settings, SessionSettings(), allow_origins=["*"])
    return Subject(
        spawner,
        in_registry(images),
        lambda name: ENVIRONMENT,
        lambda name: HOME,
        missing=missing,
        title=titles.__getitem__,
    ), spawner


@pytest.fixture(params=["process", "process in the sandbox", "docker", "kubernetes"])
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    if request.param == "docker":
        found, running = containers(request)
    elif request.param == "kubernetes":
        found, running = pods(request)
    else:
        found, running = await processes(request, sandboxed=request.param != "process")
    async with running:
        yield found
        if isinstance(found.spawner, KubernetesSpawner):
            # `stop` has tests of its own, and a pod takes seconds for its farewell.
            await remove_pods(found.spawner.cluster, found.spawner.instance)
        else:
            await asyncio.gather(*(found.spawner.stop(name) for name in await found.spawner.list()))


@pytest.fixture(params=["shared", "joined"])
def image(request: pytest.FixtureRequest, subject: Subject) -> str:
    return str(getattr(subject.images, request.param))


class TestSpawner:
    async def test_a_session_runs_the_repository_in_its_environment(self, subject: Subject, image: str) -> None:
        name, server = await subject.start(image)
        printed = await server.run(
            "import sys, os; print(sys.prefix); print(os.getcwd()); print(open('README.md').read())"
        )
        prefix, folder, title = printed.split("\n")[:3]
        assert subject.environment(name) in prefix
        assert subject.folder(name) in folder
        assert title == subject.title(image)

    async def test_the_work_tree_is_clean_and_at_the_commit(self, subject: Subject, image: str) -> None:
        _, server = await subject.start(image)
        await server.run("x = 1")
        printed = await server.run(
            "import subprocess as s\n"
            "print(s.run('git log -1 --format=%s; git status --porcelain', shell=True, text=True, capture_output=True))"
        )
        assert "stdout='The first\\n', stderr=''" in printed

    async def test_start_script_runs_before_the_server(self, subject: Subject) -> None:
        _, server = await subject.start(subject.images.scripted)
        assert await server.run("import os; print(os.environ['FROM_START'])") == "yes\n"

    async def test_a_second_start_adopts(self, subject: Subject) -> None:
        wanted = request(subject.images.shared)
        await asyncio.gather(subject.spawner.start(wanted), subject.spawner.start(wanted))
        server = await subject.reach(wanted)
        before = (await server.ask("GET", "api/status"))["started"]
        await subject.spawner.start(wanted)
        assert (await server.ask("GET", "api/status"))["started"] == before
        assert await subject.spawner.list() == [wanted.name]

    async def test_the_token_is_required_and_on_no_command_line(self, subject: Subject, image: str) -> None:
        _, server = await subject.start(image)
        assert await server.status("api/contents", token="") == 403
        assert await server.status("api/contents", token="wrong") == 403
        lines = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
        assert not [line for line in lines if server.token in line]

    async def test_poll_tells_running_exited_missing(self, subject: Subject, image: str) -> None:
        assert (await subject.spawner.poll("nobody")).running is Running.MISSING
        name, server = await subject.start(image)
        assert (await subject.spawner.poll(name)).running is Running.RUNNING
        await server.ask("POST", "api/shutdown")
        await ended(subject.spawner, name)
        assert (await subject.spawner.poll(name)).running is Running.EXITED
        await subject.spawner.stop(name)
        assert (await subject.spawner.poll(name)).running is Running.MISSING

    async def test_a_terminal_works(self, subject: Subject, image: str) -> None:
        _, server = await subject.start(image)
        assert "it is 42" in await server.type("echo it is $((6*7))\r", until="it is 42")

    async def test_stop_leaves_nothing(self, subject: Subject, image: str) -> None:
        name, server = await subject.start(image)
        await server.ask("POST", "api/terminals")
        await server.ask("POST", "api/kernels", name="python3")
        await server.run("import subprocess; subprocess.Popen(['sleep', '1000'], start_new_session=True)")
        assert await asyncio.to_thread(processes_of, name)
        await subject.spawner.stop(name)
        assert await asyncio.to_thread(processes_of, name) == []
        assert name not in await subject.spawner.list()
        assert await subject.spawner.address(name) is None

    async def test_stop_of_the_unknown_is_no_error(self, subject: Subject) -> None:
        await subject.spawner.stop("nobody")
        await subject.spawner.stop("../../etc")

    async def test_logs_tell_why_a_server_failed(self, subject: Subject) -> None:
        wanted = request(subject.images.broken)
        await subject.spawner.start(wanted)
        await ended(subject.spawner, wanted.name)
        assert "cannot go on" in await subject.spawner.logs(wanted.name)
        assert await subject.spawner.logs("nobody") == ""

    async def test_logs_never_hold_the_token(self, subject: Subject, image: str) -> None:
        name, server = await subject.start(image)
        await server.status(f"api/contents/missing?token={server.token}")
        logs = await subject.spawner.logs(name)
        assert logs
        assert server.token not in logs

    async def test_an_image_that_is_gone_is_an_error_for_people(self, subject: Subject) -> None:
        with pytest.raises(BinderyError, match="not here any more"):
            await subject.start(subject.missing)

    async def test_pip_installs_into_the_session_only(self, subject: Subject, image: str) -> None:
        name, server = await subject.start(image)
        printed = await server.run(
            "import subprocess, zipfile\n"
            "with zipfile.ZipFile('tiny-1-py3-none-any.whl', 'w') as wheel:\n"
            "    wheel.writestr('tiny.py', 'answer = 42')\n"
            "    wheel.writestr('tiny-1.dist-info/METADATA', 'Metadata-Version: 2.1\\nName: tiny\\nVersion: 1\\n')\n"
            "    wheel.writestr('tiny-1.dist-info/WHEEL', 'Wheel-Version: 1.0\\nTag: py3-none-any\\n')\n"
            "    wheel.writestr('tiny-1.dist-info/RECORD', '')\n"
            "command = ['pip', 'install', '--no-index', './tiny-1-py3-none-any.whl']\n"
            "subprocess.run(command, check=True, capture_output=True)\n"
            "import tiny; print(tiny.__file__)\n"
        )
        assert f"{subject.environment(name)}/" in printed
        assert not [path for store in subject.stores for path in store.rglob("tiny.py")]
        _, second = await subject.start(image)
        assert await second.run("import importlib.util as i; print(i.find_spec('tiny'))") == "None\n"

    async def test_sessions_do_not_see_each_other(self, subject: Subject, image: str) -> None:
        first, _ = await subject.start(image)
        _, second = await subject.start(image)
        printed = await second.run(
            "import pathlib; print([p.name for p in pathlib.Path.cwd().parent.parent.iterdir()])"
        )
        assert first not in printed
