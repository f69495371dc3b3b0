"""The whole service over a real PostgreSQL, which crashes, comes back, and outlives the service."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from tests.support.git_server import GitServer
from tests.support.jupyter import notebook
from tests.support.postgres import Postgres, serve_postgres
from tests.support.service import Service, environment
from tests.support.wait import until

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with serve_postgres() as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def service(
    git_server: GitServer, server: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Service]:
    folder: Path = tmp_path_factory.mktemp("postgres") / "data"
    own = {"BINDERY_DATABASE__URL": server.url(), "BINDERY_DATABASE__WAIT_SECONDS": "1"}
    service = Service(folder, environment(git_server, **own))
    await service.start()
    yield service
    await service.stop()


async def asked(url: str) -> aiohttp.ClientResponse:
    async with aiohttp.ClientSession() as client, client.get(url) as answer:
        await answer.read()
        return answer


async def test_a_crash_of_the_database_costs_nobody_a_notebook(
    service: Service, server: Postgres, git_server: GitServer
) -> None:
    git_server.repository("o/on-postgres").commit({"requirements.txt": "", "a.ipynb": "{}"})
    link = "gh/o/on-postgres/HEAD"
    ready = (await service.stream(link).read()).last
    assert ready["phase"] == "ready"
    async with notebook(ready) as session, session.kernel() as kernel:
        await asyncio.to_thread(server.stop, "immediate")
        answer = await asked(f"{service.url}api/v1/status")
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        refused = (await service.stream(link).read()).last
        assert (refused["code"], refused["retryable"]) == ("database_unavailable", True)
        assert "42" in (await kernel.run("print(6 * 7)")).text
        await asyncio.to_thread(server.start)

        async def is_ready() -> bool:
            return (await asked(f"{service.url}health/ready")).status == 200

        await until(is_ready, 30, "the service is ready again")
        again = await service.stream(link).read()
        assert again.last["phase"] == "ready", again.text
        assert "43" in (await kernel.run("print(42 + 1)")).text


async def test_a_service_that_is_killed_leads_again(service: Service, git_server: GitServer) -> None:
    await service.stop(signal.SIGKILL)
    await service.start()
    git_server.repository("o/after").commit({"requirements.txt": "", "b.ipynb": "{}"})
    visit = await service.stream("gh/o/after/HEAD").read()
    assert visit.last["phase"] == "ready", visit.text
