"""The API's description holds for the running service, whatever it is asked; and people can read it."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import hypothesis
import pytest
import pytest_asyncio
import schemathesis
from hypothesis import HealthCheck
from hypothesis import strategies as st
from schemathesis import Case
from schemathesis.core.result import Err
from schemathesis.specs.openapi.checks import positive_data_acceptance

from bindery.data_dir import announced
from tests.support import axe
from tests.support.browser import browser as chromium
from tests.support.browser import shoot, watched_page
from tests.support.git_server import GitServer
from tests.support.service import Service
from tests.support.wait import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

EXAMPLES = 12
#: Ends whose answers would go on for as long as a build does, or that make work for minutes.
_WISHES = st.fixed_dictionaries(
    {
        "provider": st.one_of(st.sampled_from(["gh", "gist", "zenodo", "swh", "nosuch"]), st.text(max_size=8)),
        "spec": st.one_of(st.sampled_from(["o/nosuch/HEAD", "only", "%ff/%00", "a/b/-x"]), st.text(max_size=30)),
    }
)


@pytest_asyncio.fixture(loop_scope="session")
async def client(public: Service) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(base_url=f"{public.url}api/v1/") as opened:
        yield opened


def probe(url: str) -> list[str]:
    """Ask every operation for what its description allows, and what it does not; what was answered otherwise."""
    schema = schemathesis.openapi.from_url(f"{url}api/v1/openapi.json")
    faults: list[str] = []
    for found in schema.get_all_operations():
        assert not isinstance(found, Err), found.err()
        operation = found.ok()

        @hypothesis.settings(
            max_examples=EXAMPLES, database=None, deadline=None, suppress_health_check=list(HealthCheck)
        )
        @hypothesis.seed(1)
        @hypothesis.given(case=operation.as_strategy())
        def ask(case: Case[Any]) -> None:
            # What a provider's grammar refuses, no schema can say.
            case.call_and_validate(base_url=url, timeout=30, excluded_checks=[positive_data_acceptance])

        try:
            ask()
        except Exception as error:
            faults.append(f"{operation.method} {operation.path}: {error}")
    return faults


async def test_every_answer_is_as_described(public: Service) -> None:
    assert await asyncio.to_thread(probe, public.url) == []


@hypothesis.settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@hypothesis.seed(1)
@hypothesis.given(wish=_WISHES, path=st.sampled_from(["builds", "sessions", "plans"]))
def _never_breaks(url: str, wish: dict[str, str], path: str) -> None:
    import requests

    answer = requests.post(f"{url}api/v1/{path}", json=wish, timeout=30)
    assert answer.status_code < 500 or answer.status_code in (502, 503), answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["code"] != "internal_error"


async def test_no_wish_is_an_internal_error(public: Service) -> None:
    await asyncio.to_thread(_never_breaks, public.url)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "nosuch", 404, "not_found"),
        ("PUT", "builds", 405, "method_refused"),
        ("DELETE", "images", 405, "method_refused"),
        ("GET", "builds/x/log?after=minus", 422, "request_refused"),
        ("GET", "sessions", 403, "not_allowed"),
        ("GET", "links?url=nonsense", 400, "invalid_spec"),
        ("GET", "links", 422, "request_refused"),
    ],
)
async def test_every_refusal_is_a_problem(
    client: aiohttp.ClientSession, method: str, path: str, status: int, code: str
) -> None:
    async with client.request(method, path) as answer:
        assert (answer.status, answer.content_type) == (status, "application/problem+json")
        assert (await answer.json(content_type=None))["code"] == code
        assert status != 405 or answer.headers["Allow"]


async def test_a_body_that_is_no_json_is_a_problem(client: aiohttp.ClientSession) -> None:
    for body in (b"{", b"[]", b"\xff", b"null", b""):
        async with client.post("sessions", data=body, headers={"Content-Type": "application/json"}) as answer:
            assert answer.status in (400, 422)
            assert answer.content_type == "application/problem+json"


async def test_the_plan_is_told_without_a_build(client: aiohttp.ClientSession, git_server: GitServer) -> None:
    name = f"plans/{uuid.uuid4().hex[:8]}"
    git_server.repository(name).commit({"requirements.txt": "six\n", "apt.txt": "tree\n"})
    found: dict[str, Any] = {}

    async def told() -> bool:
        async with client.post("plans", json={"provider": "gh", "spec": f"{name}/HEAD"}) as answer:
            found.update(await answer.json())
            return answer.status == 200

    await until(told, 30)
    assert found["plan"]["kind"] == "python"
    assert found["plan"]["apt"] == ["tree"]
    # This engine has no packages of the system: a build would say so.
    assert found["failure"]["code"] == "engine_cannot_serve"
    assert found["image_built"] is False


async def test_a_client_finds_its_own_sessions_and_the_operator_all(
    public: Service, client: aiohttp.ClientSession, git_server: GitServer
) -> None:
    name = f"mine/{uuid.uuid4().hex[:8]}"
    git_server.repository(name).commit({"README.md": "# hello"})
    mine, other = ({"Bindery-Client": uuid.uuid4().hex} for _ in range(2))
    wish = {"provider": "gh", "spec": f"{name}/HEAD"}
    async with client.post("sessions", json=wish, headers=mine) as answer:
        created = await answer.json()

    async def listed(headers: dict[str, str]) -> list[dict[str, Any]]:
        async with client.get("sessions", headers=headers) as answer:
            assert answer.status == 200
            found: list[dict[str, Any]] = await answer.json()
            return found

    assert [each["id"] for each in await listed(mine)] == [created["id"]]
    assert await listed(other) == []
    known = announced(public.data_dir)
    assert known is not None
    everything = await listed({"Authorization": f"Bearer {known.token}"})
    assert created["id"] in [each["id"] for each in everything]
    assert all(each["token"] is None for each in everything)
    async with client.delete(f"sessions/{created['id']}"):
        pass

    async def gone() -> bool:
        return await listed(mine) == []

    await until(gone, 30)


async def test_the_description_can_be_read_offline(public: Service) -> None:
    async with chromium() as browser:
        context = await browser.new_context()
        async with watched_page(context, public.url) as page:
            await page.goto(f"{public.url}api/v1/docs")
            text = await page.inner_text("main")
            for said in ("POST", "/api/v1/builds/{build_id}/events", "SessionRecord", "openapi.json", "curl --request"):
                assert said in text
            broken = [
                link
                for link in re.findall(r'href="#([^"]+)"', await page.content())
                if not await page.evaluate("(id) => !!document.getElementById(id)", link)
            ]
            assert broken == []
            await shoot(page, "api")
            await axe.check(page)
