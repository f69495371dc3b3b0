"""Previews end with a plan, or with an error that people can read, whatever goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from bindery.errors import RepositoryTooLarge
from bindery.settings import FetchSettings, PreviewSettings
from builder.guard import Guard, GuardedClient
from builder.previewing import MAX_ATTEMPTS, PlanningDesk, Previewer
from builder.providers.base import Fetcher
from db.engine import Database
from db.previews import Preview, PreviewStore
from db.states import PreviewState
from db.wakeups import Wakeups
from tests.contract.test_stores import WANTED
from tests.support.worker_process import HangsAt, Orders


class NeverFetches:
    async def fetch(self, *given: object, **named: object) -> str:
        await asyncio.Event().wait()
        raise AssertionError


class RefusesWhatIsTooLarge:
    async def fetch(self, *given: object, **named: object) -> str:
        raise RepositoryTooLarge("It is too large.")


class Breaks:
    async def fetch(self, *given: object, **named: object) -> str:
        raise ZeroDivisionError("a mistake of ours")


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[PlanningDesk]:
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/bindery.db")
    await database.open()
    wakeups = Wakeups()
    async with GuardedClient(Guard(False, 1.0)) as client:
        yield PlanningDesk(
            previews=PreviewStore(database, wakeups),
            engine=HangsAt(Orders("", str(tmp_path)), client),
            client=client,
            wakeups=wakeups,
            scratch=tmp_path / "previewed",
            settings=PreviewSettings(timeout_seconds=0.2),
            fetch=FetchSettings(),
        )
    await database.close()


async def _made(desk: PlanningDesk, provider: Fetcher) -> Preview:
    previewer = Previewer(replace(desk, providers={"gh": provider}))
    await desk.previews.request(WANTED, 5, 1.0)
    claimed = await desk.previews.claim(30, 1.0)
    assert claimed is not None
    await previewer.make(claimed)
    ended = await desk.previews.get(WANTED.image)
    assert ended is not None
    assert ended.state is PreviewState.FAILED
    assert list(desk.scratch.iterdir()) == []
    return ended


@pytest.mark.parametrize(
    ("provider", "code", "words"),
    [
        (NeverFetches(), "host_unreachable", "longer than 0.2 seconds"),
        (RefusesWhatIsTooLarge(), "repository_too_large", "It is too large."),
        (Breaks(), "internal_error", "Bindery itself"),
    ],
)
async def test_whatever_goes_wrong_is_told(desk: PlanningDesk, provider: Fetcher, code: str, words: str) -> None:
    ended = await _made(desk, provider)
    assert ended.error_code == code
    assert words in (ended.error_message or "")
    assert "a mistake of ours" not in (ended.error_message or "")


async def test_what_ends_the_service_again_and_again_is_given_up(desk: PlanningDesk) -> None:
    await desk.previews.request(WANTED, 5, 1.0)
    for _ in range(MAX_ATTEMPTS):
        assert await desk.previews.claim(30, 1.0) is not None
        await desk.previews.release()
    claimed = await desk.previews.claim(30, 2.0)
    assert claimed is not None
    await Previewer(desk).make(claimed)
    ended = await desk.previews.get(WANTED.image)
    assert ended is not None
    assert "attempts" in (ended.error_message or "")


async def test_those_who_wait_are_woken(desk: PlanningDesk) -> None:
    working = asyncio.create_task(Previewer(replace(desk, providers={"gh": RefusesWhatIsTooLarge()})).run())
    try:
        with desk.wakeups.listen(f"preview:{WANTED.image}") as ended:
            await desk.previews.request(WANTED, 5, 1.0)
            await ended.wait(20.0)
        made = await desk.previews.get(WANTED.image)
        assert made is not None
        assert made.ended
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
