"""What the process engine's spawner promises beyond the contract."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import psutil
import pytest

from bindery.errors import BinderyError, ToolMissing
from bindery.sandbox import find_sandbox, no_sandbox
from launcher.spawners.base import Running, SessionRequest
from launcher.spawners.leftovers import processes_of
from launcher.spawners.process import ProcessSpawner
from registry.directory import DirectoryStore
from tests.support.notebook_server import NotebookServer
from tests.support.stored_images import StoredImages, add_classic_image, add_overlaid_image, make_stored_images

#: Seconds until a condition that does not come true fails the test.
LIMIT_SECONDS = 20.0


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_SECONDS):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.02)


def mentions(text: str) -> list[str]:
    """The command lines of running processes that mention `text`."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            line = " ".join(process.cmdline())
            if text in line:
                found.append(line)
    return found


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> StoredImages:
    return make_stored_images(tmp_path_factory.mktemp("data"))


@contextlib.asynccontextmanager
async def spawning(images: StoredImages, *, sandboxed: bool) -> AsyncIterator[ProcessSpawner]:
    async def server() -> Path:
        return images.server

    sandbox = await find_sandbox(enabled=True, hidden=[images.store.root]) if sandboxed else no_sandbox("not wanted")
    async with ProcessSpawner(images.store, server=server, sandbox=sandbox, allow_origins=["*"]) as spawner:
        yield spawner
        for name in await spawner.list():
            await spawner.stop(name)


async def begin(spawner: ProcessSpawner, image: str) -> tuple[str, NotebookServer]:
    name = f"example-{secrets.token_hex(4)}"
    request = SessionRequest(name, image, f"/user/{name}/", secrets.token_urlsafe(16), {})
    await spawner.start(request)
    address = await spawner.address(name)
    assert address is not None
    return name, await NotebookServer(address, request.base_url, request.token).wait()


@pytest.mark.parametrize("sandboxed", ["bare", "sandbox"])
async def test_a_killed_service_leaves_no_process_and_its_folders_are_reaped(
    images: StoredImages, sandboxed: str
) -> None:
    root = str(images.store.root)
    argv = [sys.executable, "-m", "tests.support.spawner_service", root, str(images.server), sandboxed]
    service = await asyncio.create_subprocess_exec(*argv, images.shared, images.joined, stdout=subprocess.PIPE)
    assert service.stdout is not None
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            while await service.stdout.readline() != b"ready\n":
                assert not service.stdout.at_eof()
        assert len(processes_of("owned-0")) > 1
        assert len(processes_of("owned-1")) > 1
    finally:
        service.kill()
        await service.wait()
    await until(lambda: not processes_of("owned-0") and not processes_of("owned-1"))
    await until(lambda: not mentions(root))
    async with spawning(images, sandboxed=True) as spawner:
        assert await spawner.list() == ["owned-0", "owned-1"]
        assert (await spawner.poll("owned-0")).running is Running.EXITED
        await spawner.stop("owned-0")
        assert await spawner.list() == ["owned-1"]


async def test_a_dead_parent_is_replaced_and_its_sessions_count_as_ended(images: StoredImages) -> None:
    async with spawning(images, sandboxed=False) as spawner:
        name, server = await begin(spawner, images.shared)
        await server.ask("POST", "api/kernels", name="python3")
        parents = [process for process in psutil.Process().children() if "--warm" in process.cmdline()]
        parents[0].send_signal(signal.SIGKILL)
        async with asyncio.timeout(LIMIT_SECONDS):
            while (await spawner.poll(name)).running is Running.RUNNING:
                await asyncio.sleep(0.01)
        again, server = await begin(spawner, images.shared)
        assert await server.status() == 200
        await spawner.stop(name)
        assert await spawner.list() == [again]


async def test_a_long_data_directory_gets_a_short_way_to_its_sockets(images: StoredImages, tmp_path: Path) -> None:
    long = tmp_path / ("long-" * 20)
    long.mkdir()
    for folder in ("environments", "images", "servers"):
        (long / folder).symlink_to(images.store.root / folder)
    moved = StoredImages(DirectoryStore(long), images.server, images.shared, images.joined, images.scripted, "")
    for sandboxed in (False, True):
        async with spawning(moved, sandboxed=sandboxed) as spawner:
            _, server = await begin(spawner, moved.shared)
            assert server.address.socket is not None
            assert len(server.address.socket) < 104
            assert await server.status() == 200
            way = Path(server.address.socket).parents[2]
            assert way.is_dir()
        assert not way.exists()


async def test_the_sandbox_shows_no_data_and_lets_nothing_shared_be_changed(images: StoredImages) -> None:
    (images.store.root / "bindery.sqlite").write_text("secret")
    async with spawning(images, sandboxed=True) as spawner:
        for image in (images.shared, images.joined, images.scripted):
            _, server = await begin(spawner, image)
            assert (
                await server.run(f"import os; print(os.path.exists({str(images.store.root)!r} + '/bindery.sqlite'))")
                == "False\n"
            )
            for path in (images.server, images.store.environment_path("shared"), Path("/usr")):
                probe = f"import os; print(os.access({str(path)!r}, os.W_OK))"
                assert await server.run(probe) == "False\n", (image, path)
            capabilities = "print([line for line in open('/proc/self/status') if line.startswith('CapEff')])"
            assert "0000000000000000" in await server.run(capabilities)


async def test_forked_sessions_see_no_process_but_their_own(images: StoredImages) -> None:
    async with spawning(images, sandboxed=False) as spawner:
        _, server = await begin(spawner, images.shared)
        count = await server.run("import os; print(len([n for n in os.listdir('/proc') if n.isdigit()]))")
        assert int(count) == 3


async def test_pages_call_no_other_site_and_other_sites_may_call(images: StoredImages) -> None:
    async with spawning(images, sandboxed=True) as spawner:
        for image in (images.shared, images.joined):
            _, server = await begin(spawner, image)
            connector = aiohttp.UnixConnector(str(server.address.socket))
            async with aiohttp.ClientSession(connector=connector) as client:
                async with client.get(f"http://any.example{server.base_url}lab?token={server.token}") as page:
                    text = await page.text()
                asked = {
                    "Origin": "https://other.example",
                    "Access-Control-Request-Headers": "authorization,content-type",
                }
                url = f"http://any.example{server.base_url}api/kernels"
                async with client.options(url, headers={**asked, "Access-Control-Request-Method": "POST"}) as answer:
                    assert answer.status < 300
                    assert answer.headers["Access-Control-Allow-Origin"] in ("*", "https://other.example")
                    assert "authorization" in answer.headers["Access-Control-Allow-Headers"]
                kernel = await server.ask("POST", "api/kernels", name="python3")
                channels = f"{url}/{kernel['id']}/channels?token={server.token}"
                async with client.ws_connect(channels, headers={"Origin": "https://other.example"}) as channel:
                    assert not channel.closed
            assert '"news": {"disabled": true}' in text
            assert "@jupyterlab/apputils-extension:announcements" in text


async def test_a_session_that_replaces_its_log_reveals_nothing(images: StoredImages) -> None:
    async with spawning(images, sandboxed=True) as spawner:
        name, server = await begin(spawner, images.shared)
        await server.run("import os; os.remove('../log'); os.symlink('/etc/passwd', '../log')")
        assert await spawner.logs(name) == ""


async def test_what_a_visitor_wrote_protected_is_removed(images: StoredImages) -> None:
    async with spawning(images, sandboxed=False) as spawner:
        name, server = await begin(spawner, images.shared)
        await server.run(
            "import os; os.makedirs('a/b'); open('a/b/c', 'w').close(); os.chmod('a/b', 0); os.chmod('a', 0)"
        )
        await spawner.stop(name)
        assert await spawner.list() == []


async def test_no_session_can_have_a_name_that_leads_elsewhere(images: StoredImages) -> None:
    async with spawning(images, sandboxed=False) as spawner:
        for name in ("..", "a/b", "", "-x", ".warm.log", "x" * 60):
            with pytest.raises(BinderyError):
                await spawner.start(SessionRequest(name, images.shared, "/", "t", {}))


async def test_an_environment_with_nothing_but_the_classic_notebook_runs_that(images: StoredImages) -> None:
    image = add_classic_image(images)
    async with spawning(images, sandboxed=True) as spawner:
        name, server = await begin(spawner, image)
        assert await server.status("api/contents", token="") == 403
        assert name in await server.run("import os; print(os.getcwd())")
        assert "NotebookApp" in await spawner.logs(name)


async def test_what_post_build_installed_is_there(images: StoredImages) -> None:
    image = add_overlaid_image(images, "extra")
    async with spawning(images, sandboxed=True) as spawner:
        _, server = await begin(spawner, image)
        assert "/images/" in await server.run("import extra; print(extra.__file__)")
        assert await server.run("import subprocess as s; print(s.getoutput('extra'))") == "from the overlay\n"
        assert '"name": "extra"' in await server.text("lab")


async def test_without_a_warm_parent_servers_are_started_plainly(images: StoredImages) -> None:
    async def server() -> Path:
        raise ToolMissing("uv is not installed.")

    async with ProcessSpawner(images.store, server=server, sandbox=no_sandbox("not wanted")) as spawner:
        name, notebook = await begin(spawner, images.shared)
        assert await notebook.status() == 200
        await spawner.stop(name)
