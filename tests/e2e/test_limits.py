"""Sessions end when they should, and the service says so."""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from tests.support.git_server import GitServer
from tests.support.jupyter import notebook
from tests.support.service import Service, environment
from tests.support.wait import until

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def impatient(shared: Service, git_server: GitServer, data_dir: Path) -> AsyncIterator[Service]:
    """A service on the same data that ends sessions after seconds, and allows two at a time."""
    if shared.process is not None:
        await shared.stop()
    limits = {"IDLE_SECONDS": "3", "UNOPENED_SECONDS": "3", "MAX_AGE_SECONDS": "60", "CHECK_SECONDS": "0.5"}
    settings = {f"BINDERY_SESSION__{name}": value for name, value in {**limits, "MAX_TOTAL": "2"}.items()}
    service = Service(data_dir, environment(git_server, **settings))
    await service.start()
    yield service
    await service.stop()


async def repository(git_server: GitServer) -> str:
    name = f"limits/{uuid.uuid4().hex[:8]}"
    git_server.repository(name).commit({"requirements.txt": "six\n"})
    return f"gh/{name}/HEAD"


async def gone(client: aiohttp.ClientSession, url: str) -> bool:
    async with client.get(f"{url}lab", headers={"Accept": "text/html"}) as response:
        return response.status == 424


async def test_idle_and_unopened_sessions_end(impatient: Service, git_server: GitServer) -> None:
    link = await repository(git_server)
    unopened = (await impatient.stream(link).read()).last
    folder = impatient.data_dir / "sessions" / unopened["url"].rstrip("/").rpartition("/")[2]
    assert folder.is_dir()
    await until(lambda: not folder.exists(), what="the session that nobody opened is removed")
    opened = (await impatient.stream(link).read()).last
    async with aiohttp.ClientSession() as client:
        async with notebook(opened) as server:
            assert (await server.get("api/status"))["kernels"] == 0
        assert not await gone(client, opened["url"])
        # Asking counts as use: the folder tells without asking.
        folder = impatient.data_dir / "sessions" / opened["url"].rstrip("/").rpartition("/")[2]
        await until(lambda: not folder.exists(), what="the idle session is removed")
        async with client.get(f"{opened['url']}lab", headers={"Accept": "text/html"}) as response:
            assert response.status == 424
            assert "It was not used for 3 seconds." in await response.text()


async def test_one_address_launches_only_so_often_without_a_page(
    shared: Service, git_server: GitServer, data_dir: Path
) -> None:
    if shared.process is not None:
        await shared.stop()
    settings = {"BINDERY_RATE_LIMIT__LIMIT": "2", "BINDERY_RATE_LIMIT__PERIOD_SECONDS": "86400"}
    service = Service(data_dir, environment(git_server, **settings))
    await service.start()
    try:
        link = await repository(git_server)
        answers = [await service.stream(link).read() for _ in range(3)]
        assert [visit.last["phase"] for visit in answers] == ["ready", "ready", "failed"]
        assert answers[2].last["status_code"] == 429
        assert answers[2].last["message"].startswith("Rate limit exceeded. Try again in ")
        # A stream that is taken up again is no new launch, and a page's own launch is not counted.
        assert (await service.stream(link, answers[0].ids[-2]).read()).last["phase"] == "ready"
        async with aiohttp.ClientSession() as client, client.get(f"{service.url}v2/{link}") as page:
            token = re.search(r"build_token=([\w.-]+)", await page.text())
        assert token is not None
        assert (await service.stream(f"{link}?build_token={token[1]}").read()).last["phase"] == "ready"
        assert (await service.stream(f"{link}?build_token=nonsense").read()).last["status_code"] == 403
        async with (
            aiohttp.ClientSession() as client,
            client.post(
                f"{service.url}api/v1/sessions", json={"provider": "gh", "spec": link.removeprefix("gh/")}
            ) as response,
        ):
            assert response.status == 429
            assert int(response.headers["Retry-After"]) > 0
    finally:
        await service.stop()


async def test_no_more_sessions_than_allowed(impatient: Service, git_server: GitServer) -> None:
    link = await repository(git_server)
    for _ in range(2):
        assert (await impatient.stream(link).read()).last["phase"] == "ready"
    refused = await impatient.stream(link).read()
    assert refused.last["code"] == "quota_reached"
    assert refused.last["message"] == "Too many users on this BinderHub! Try again soon.\n"
    assert refused.last["retryable"] is True


async def test_whoever_waits_in_line_gets_the_place_that_becomes_free(git_server: GitServer, tmp_path: Path) -> None:
    settings = {"BINDERY_SESSION__MAX_TOTAL": "1", "BINDERY_LIMITS__MOST_WAITING": "1"}
    # Of no session is it known how long it lasts, so nothing is estimated.
    service = Service(tmp_path / "data", environment(git_server, **settings))
    await service.start()
    try:
        link = await repository(git_server)
        wish = {"provider": "gh", "spec": link.removeprefix("gh/")}
        assert (await service.stream(link).read()).last["phase"] == "ready"
        waiting = await service.stream(link).read("You are number 1 in line.")
        assert {**waiting.last, "message": ""} == {"phase": "waiting", "message": "", "position": 1, "ahead": 0}
        assert (await service.stream(link).read()).last["code"] == "quota_reached"
        async with aiohttp.ClientSession() as client:
            async with client.post(f"{service.url}api/v1/sessions", json=wish) as refused:
                assert (refused.status, refused.headers["Retry-After"]) == (503, "60")
            # The line outlives the service; the process engine's sessions do not, so there is a place now.
            await service.stop()
            await service.start()
            again = await service.stream(link, waiting.ids[-1]).read()
        assert again.last["phase"] == "ready"
    finally:
        await service.stop()
