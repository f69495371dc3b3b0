"""The REST API of the real service."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from bindery.data_dir import announced
from tests.support.git_server import GitServer
from tests.support.jupyter import notebook
from tests.support.service import Service, Visit
from tests.support.wait import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

PROBLEM = {"type", "title", "status", "code", "hint", "retryable"}


@pytest_asyncio.fixture(loop_scope="session")
async def client(service: Service) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(base_url=f"{service.url}api/v1/") as client:
        yield client


@pytest.fixture
def wish(git_server: GitServer) -> dict[str, str]:
    name = f"api/{uuid.uuid4().hex[:8]}"
    git_server.repository(name).commit({"requirements.txt": "six\n"})
    return {"provider": "gh", "spec": f"{name}/HEAD"}


@pytest.fixture
def fresh(git_server: GitServer) -> dict[str, str]:
    """An environment that no other test has."""
    name = f"api/{uuid.uuid4().hex[:8]}"
    git_server.repository(name).commit({"requirements.txt": f"six  # for {name}\n"})
    return {"provider": "gh", "spec": f"{name}/HEAD"}


@pytest.fixture
def slow(git_server: GitServer) -> dict[str, str]:
    name = f"api/{uuid.uuid4().hex[:8]}"
    git_server.repository(name).commit(
        {"postBuild": "#!/bin/sh\nfor n in $(seq 300); do echo tick $n; sleep 0.1; done\n"}
    )
    return {"provider": "gh", "spec": f"{name}/HEAD"}


async def record(client: aiohttp.ClientSession, path: str, status: int = 200) -> dict[str, Any]:
    async with client.get(path) as response:
        assert response.status == status, await response.text()
        answer: dict[str, Any] = await response.json(content_type=None)
        return answer


async def state(client: aiohttp.ClientSession, path: str) -> str:
    return str((await record(client, path))["state"])


async def created(client: aiohttp.ClientSession, path: str, wish: dict[str, str]) -> dict[str, Any]:
    async with client.post(path, json=wish) as response:
        assert response.status == 201, await response.text()
        answer: dict[str, Any] = await response.json()
        assert response.headers["Location"].endswith(f"/api/v1/{path}/{answer['id']}")
        return answer


async def test_a_build_and_its_log(client: aiohttp.ClientSession, fresh: dict[str, str]) -> None:
    build = await created(client, "builds", fresh)
    assert (await created(client, "builds", fresh))["id"] == build["id"]
    visit = await Visit(build["events_url"]).read()
    assert visit.last["phase"] == "ready"
    done = await record(client, f"builds/{build['id']}")
    assert done["state"] == "built"
    assert done["plan"]["kind"] == "python"
    async with client.get(build["log_url"]) as response:
        text = await response.text()
    assert text.startswith("Waiting for build to start...\n")
    assert "six==" in text
    again = await Visit(build["events_url"], visit.ids[-3]).read()
    assert again.ids == visit.ids[-2:]


async def test_a_session_from_wish_to_end(client: aiohttp.ClientSession, wish: dict[str, str]) -> None:
    session = await created(client, "sessions", wish)

    async def ready() -> bool:
        return await state(client, f"sessions/{session['id']}") == "ready"

    await until(ready, 120)
    done = await record(client, f"sessions/{session['id']}")
    async with notebook(done) as server:
        assert (await server.get("api/status"))["kernels"] == 0
    async with client.delete(f"sessions/{session['id']}") as response:
        assert response.status == 202

    async def stopped() -> bool:
        return await state(client, f"sessions/{session['id']}") == "stopped"

    await until(stopped, 20)
    ended = await record(client, f"sessions/{session['id']}")
    assert (ended["url"], ended["token"]) == (None, None)


async def test_a_visitor_who_leaves_takes_a_build_along_that_nobody_else_waits_for(
    client: aiohttp.ClientSession, slow: dict[str, str]
) -> None:
    first, second = await created(client, "sessions", slow), await created(client, "sessions", slow)
    assert first["build_id"] == second["build_id"]
    async with client.delete(f"sessions/{first['id']}"):
        pass
    assert await state(client, f"builds/{first['build_id']}") != "cancelled"
    async with client.delete(f"sessions/{second['id']}"):
        pass

    async def cancelled() -> bool:
        return await state(client, f"builds/{first['build_id']}") == "cancelled"

    await until(cancelled, 30)
    assert (await record(client, f"builds/{first['build_id']}"))["failure"]["code"] == "build_cancelled"


async def test_the_operator_cancels_for_everybody(
    service: Service, client: aiohttp.ClientSession, slow: dict[str, str]
) -> None:
    build = await created(client, "builds", slow)
    async with client.post(f"builds/{build['id']}/cancel") as response:
        assert response.status == 403
        assert (await response.json(content_type=None))["code"] == "not_allowed"
    known = announced(service.data_dir)
    assert known is not None
    bearer = {"Authorization": f"Bearer {known.token}"}
    async with client.post(f"builds/{build['id']}/cancel", headers=bearer) as response:
        assert response.status == 202
    visit = await Visit(build["events_url"]).read(seconds=30)
    assert visit.last["code"] == "build_cancelled"
    async with client.get("images", headers=bearer) as response:
        assert response.status == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "builds/nosuch", None, 404, "not_found"),
        ("GET", "sessions/nosuch", None, 404, "not_found"),
        ("DELETE", "sessions/nosuch", None, 404, "not_found"),
        ("GET", "nosuch", None, 404, "not_found"),
        ("GET", "images", None, 403, "not_allowed"),
        ("POST", "builds", {"provider": "gh", "spec": "only"}, 400, "invalid_spec"),
        ("POST", "builds", {"provider": "nosuch", "spec": "a/b"}, 404, "unknown_provider"),
        ("POST", "sessions", {"provider": "gh", "spec": "o/nosuch/HEAD"}, 404, "repository_not_found"),
        ("POST", "sessions", {"provider": "gh"}, 422, "request_refused"),
        ("POST", "sessions", {"provider": "gh", "spec": "a/b/c", "more": 1}, 422, "request_refused"),
    ],
)
async def test_errors_are_problems(
    client: aiohttp.ClientSession, method: str, path: str, body: Any, status: int, code: str
) -> None:
    async with client.request(method, path, json=body) as response:
        assert response.status == status
        assert response.content_type == "application/problem+json"
        problem = await response.json(content_type=None)
    assert problem.keys() == PROBLEM
    assert problem["code"] == code
    assert problem["status"] == status


async def test_the_description_and_the_status(client: aiohttp.ClientSession) -> None:
    described = await record(client, "openapi.json")
    assert {"/api/v1/builds", "/api/v1/sessions/{session_id}", "/api/v1/status"} <= described["paths"].keys()
    assert (await record(client, "status"))["healthy"] is True
