"""Status badges over real rows: each state, and no more questions to hosts than the budget has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from xml.etree import ElementTree

import httpx
import pytest
from fastapi import FastAPI

from bindery.errors import HostUnreachable
from builder.providers.base import ParsedSpec, Resolved
from db.engine import Database
from db.events import Failure
from tests.integration.test_launches import KnowsOneRepository, Stage
from tests.support.link_vectors import PROVIDERS
from web import status_badge
from web.pages import Pages
from web.status_badge import RESOLVED_SECONDS, Budget, StatusBadges

BROKEN = Failure("install_failed", "no", "", False)


class Asked(KnowsOneRepository):
    """Counts how often it is asked, and may not answer."""

    def __init__(self) -> None:
        self.times = 0
        self.answers = True

    async def resolve(self, parsed: ParsedSpec) -> Resolved:
        self.times += 1
        if not self.answers:
            raise HostUnreachable("no answer")
        return await super().resolve(parsed)


class Visitor:
    """Looks at badges, as time passes."""

    def __init__(self, database: Database, lookups: int) -> None:
        self.now = 0.0
        self.host = Asked()
        # Hosts are asked each time: what is remembered is remembered by the badges.
        self.stage = Stage(database, host=self.host, remembered_seconds=0)
        intake = self.stage.launches.intake
        badges = StatusBadges(Pages(PROVIDERS), intake, Budget(lookups, lambda: self.now), clock=lambda: self.now)
        app = FastAPI()
        app.include_router(status_badge.router(badges))
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://bindery.test")

    async def state(self, spec: str = "o/r/main", status: int = 200) -> str:
        answer = await self.client.get(f"/badge/gh/{spec}.svg")
        assert answer.status_code == status
        assert answer.headers["content-type"] == "image/svg+xml"
        assert "max-age" in answer.headers["cache-control"]
        return ElementTree.fromstring(answer.text).attrib["aria-label"].removeprefix("Bindery: ")


@pytest.fixture
async def visitor(tmp_path: Path) -> AsyncIterator[Visitor]:
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/bindery.db")
    await database.open()
    opened = Visitor(database, 3)
    yield opened
    await opened.client.aclose()
    await database.close()


async def test_each_state_of_a_build(visitor: Visitor) -> None:
    assert await visitor.state() == "not built"
    looking = visitor.stage.visit()
    build = await visitor.stage.claimed()
    assert await visitor.state() == "building"
    await visitor.stage.end(build, BROKEN)
    assert await visitor.state() == "failed"
    await looking.leave()
    again = visitor.stage.visit()
    await visitor.stage.build()
    assert await visitor.state() == "ready"
    await again.leave()
    assert visitor.host.times == 1 + 2


async def test_hosts_are_asked_as_often_as_the_budget_has(visitor: Visitor) -> None:
    assert [await visitor.state(f"o/r/{ref}") for ref in ("a", "b", "c", "d", "a")] == [
        "not found", "not found", "not found", "unknown", "not found"
    ]  # fmt: skip
    assert visitor.host.times == 3
    visitor.now = 20.0
    assert await visitor.state("o/r/d") == "not found"


async def test_an_answer_that_is_old_is_better_than_none(visitor: Visitor) -> None:
    assert await visitor.state() == "not built"
    visitor.now = RESOLVED_SECONDS + 1
    visitor.host.answers = False
    assert await visitor.state() == "not built"
    assert await visitor.state("o/r/other") == "unknown"


async def test_nothing_is_begun_by_looking(visitor: Visitor) -> None:
    await visitor.state()
    assert await visitor.stage.builds.unfinished() == []


async def test_what_is_no_link_is_not_there(visitor: Visitor) -> None:
    answer = await visitor.client.get("/badge/nosuch/%3Cscript%3E.svg")
    assert answer.status_code == 404
    assert "<script>" not in answer.text
