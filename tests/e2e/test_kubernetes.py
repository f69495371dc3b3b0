"""The same service on a real cluster."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import signal
import uuid
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from registry.client import ClientSettings, open_client
from registry.names import Reference
from tests.support.cluster_service import World, cluster_serving
from tests.support.git_server import GitServer, Repository
from tests.support.jupyter import notebook
from tests.support.service import Visit
from tests.support.wait import until

#: A server that answers everything, and takes ever more memory when it is told to.
HUNGRY = """
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        taken = []
        while self.path.endswith("/eat"):
            taken.append(bytearray(1 << 20))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
HTTPServer(("", 8888), Handler).serve_forever()
"""

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def world(git_server: GitServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    data_dir = tmp_path_factory.mktemp("kubernetes") / "data"
    async with cluster_serving(git_server, data_dir, f"e2e-{secrets.token_hex(3)}") as found:
        yield found


def fresh(git_server: GitServer) -> tuple[Repository, str]:
    name = f"e2e/{uuid.uuid4().hex[:12]}"
    return git_server.repository(name), name


async def launched(world: World, link: str) -> Visit:
    visit = await world.service.stream(link).read()
    assert visit.last["phase"] == "ready", visit.text
    return visit


def session(ready: dict[str, Any]) -> str:
    return str(ready["url"]).partition("/user/")[2].rstrip("/")


async def page(world: World, name: str) -> tuple[int, str]:
    url = f"{world.service.url}user/{name}/lab"
    async with aiohttp.ClientSession() as client, client.get(url, headers={"Accept": "text/html"}) as answer:
        return answer.status, await answer.text()


async def gone(world: World, name: str) -> str:
    """The page that a session leaves."""
    async with asyncio.timeout(60):
        while True:
            status, text = await page(world, name)
            if status == 424:
                return text
            await asyncio.sleep(0.2)


async def test_a_fresh_repository_then_only_its_notebook_then_nothing_changes(
    world: World, git_server: GitServer
) -> None:
    repository, name = fresh(git_server)
    repository.commit({"requirements.txt": "six\n", "a.ipynb": "{}", "data.txt": "the first"})
    first = await launched(world, f"gh/{name}/HEAD")
    async with notebook(first.last) as server, server.kernel() as kernel:
        done = await kernel.run(
            "import os, six; print(open('data.txt').read(), os.getuid(), 'TOKEN' in str(os.listdir('/var/run')))"
        )
    assert "the first 1000" in done.text, done.text
    assert "Found a node" in first.text
    jobs = await world.jobs()
    repository.commit({"a.ipynb": "{ }", "data.txt": "the second"})
    second = await launched(world, f"gh/{name}/HEAD")
    assert "reused" in second.text
    async with notebook(second.last) as server, server.kernel() as kernel:
        assert "the second" in (await kernel.run("print(open('data.txt').read())")).text
    third = await launched(world, f"gh/{name}/HEAD")
    assert "Found built image" in third.text
    # Neither a commit of the same environment nor one that is known needs a Job.
    assert set(await world.jobs()) <= set(jobs)
    assert len({session(visit.last) for visit in (first, second, third)}) == 3


async def test_a_pod_that_is_removed_behind_our_back(world: World, git_server: GitServer) -> None:
    repository, name = fresh(git_server)
    repository.commit({"requirements.txt": "six\n"})
    visit = await launched(world, f"gh/{name}/HEAD")
    await world.remove(f"{world.instance}-{session(visit.last)}")
    text = await gone(world, session(visit.last))
    assert f"v2/gh/{name}/HEAD" in text


async def test_a_killed_service_finds_its_sessions_again(world: World, git_server: GitServer) -> None:
    repository, name = fresh(git_server)
    repository.commit({"requirements.txt": "six\n"})
    ready = await launched(world, f"gh/{name}/HEAD")
    waiting = world.service.stream(f"gh/{name}/HEAD")
    await waiting.read("Launching server")
    await world.service.stop(signal.SIGKILL)
    before = {pod["metadata"]["name"] for pod in await world.pods()}
    await world.service.start()
    port = world.service.url
    again = {**ready.last, "url": f"{port}user/{session(ready.last)}/"}
    async with notebook(again) as server:
        assert (await server.get("api/status"))["kernels"] == 0
    resumed = await world.service.stream(f"gh/{name}/HEAD", waiting.ids[-1]).read()
    assert resumed.last["phase"] == "ready", resumed.text
    after = {pod["metadata"]["name"] for pod in await world.pods()}
    # What had been asked for is the one that became ready, and nothing was doubled.
    assert before <= after
    assert len(after - before) <= 1
    assert f"{world.instance}-{session(resumed.last)}" in after


@contextlib.asynccontextmanager
async def restarted(world: World, **settings: str) -> AsyncIterator[None]:
    """The service has further settings while the block runs."""
    kept = world.service.environment
    await world.service.stop(signal.SIGTERM)
    world.service.environment = {**kept, **settings}
    await world.service.start()
    try:
        yield
    finally:
        await world.service.stop(signal.SIGTERM)
        world.service.environment = kept
        await world.service.start()


async def test_a_session_that_takes_too_much_memory_says_so_on_its_page(world: World, git_server: GitServer) -> None:
    repository, name = fresh(git_server)
    repository.commit({"requirements.txt": "six\n"})
    container = {"name": "session", "command": ["python3", "-c", HUNGRY], "args": None}
    settings = {
        "BINDERY_KUBERNETES__SESSION__PATCH": json.dumps({"spec": {"containers": [container]}}),
        "BINDERY_SESSION__MEMORY_BYTES": str(128 * 2**20),
    }
    async with restarted(world, **settings):
        visit = await launched(world, f"gh/{name}/HEAD")
        url = f"{world.service.url}user/{session(visit.last)}/eat"
        async with aiohttp.ClientSession() as client, client.get(url) as answer:
            assert answer.status >= 500
        assert "more than its 128 MiB of memory" in await gone(world, session(visit.last))


async def test_a_visitor_who_leaves_and_one_who_does_nothing(git_server: GitServer, world: World) -> None:
    repository, name = fresh(git_server)
    repository.commit({"requirements.txt": "six\n"})
    await launched(world, f"gh/{name}/HEAD")
    culling = {"BINDERY_SESSION__UNOPENED_SECONDS": "0.5", "BINDERY_SESSION__IDLE_SECONDS": "0.5"}

    async def none() -> bool:
        return not await world.pods()

    async with restarted(world, **culling):
        await until(none, 60, "all sessions are culled")


async def test_an_image_that_nobody_uses_is_removed_and_one_that_runs_is_not(
    git_server: GitServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data_dir = tmp_path_factory.mktemp("cleaner") / "data"
    # No other service has this environment, which goes with its last image.
    wanted = f"six>=1.{secrets.randbelow(10)}.0.dev{secrets.randbelow(10**6)}\n"
    names = []
    for content in ("one", "two"):
        repository, name = fresh(git_server)
        repository.commit({"requirements.txt": wanted, "a.txt": content})
        names.append(name)
    marks = {"HIGH_BYTES": "1", "LOW_BYTES": "0", "CHECK_SECONDS": "0.5"}
    settings = {f"BINDERY_RETENTION__{mark}": value for mark, value in marks.items()}
    async with cluster_serving(git_server, data_dir, f"cleaner-{secrets.token_hex(3)}", **settings) as world:
        kept, unused = [await launched(world, f"gh/{name}/HEAD") for name in names]
        images = [Reference.parse(visit.last["image"]) for visit in (kept, unused)]
        async with open_client(ClientSettings.of(plain_http=[images[0].repository.host])) as client:
            await world.remove(f"{world.instance}-{session(unused.last)}")

            async def is_gone() -> bool:
                return await client.head(images[1]) is None

            await until(is_gone, 60, "the image of the session that ended is gone")
            assert await client.head(images[0]) is not None
        again = await launched(world, f"gh/{names[1]}/HEAD")
        assert "reused" in again.text
        assert "Found built image" not in again.text
