"""Turns: who comes first is served first, and who takes long holds up nobody."""

from __future__ import annotations

import asyncio

import pytest

from web import turns as module
from web.turns import Turns


@pytest.fixture(autouse=True)
def two_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 2)
    monkeypatch.setattr(module, "LONGEST_SECONDS", 30.0)


async def test_no_more_than_so_many_have_their_turn_and_the_first_come_first() -> None:
    turns, began = Turns(), list[int]()
    waiting: list[asyncio.Task[module.Turn]] = []

    async def come(number: int) -> module.Turn:
        turn = await turns.take()
        began.append(number)
        return turn

    for number in range(5):
        waiting.append(asyncio.create_task(come(number)))
    await asyncio.wait(waiting, timeout=0.05)
    assert began == [0, 1]
    for number in range(3):
        (await waiting[number]).end()
        await waiting[number + 2]
        assert began == list(range(number + 3))


async def test_ending_twice_makes_no_further_turn() -> None:
    turns = Turns()
    first, _ = await turns.take(), await turns.take()
    first.end()
    first.end()
    await turns.take()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await turns.take()


async def test_who_takes_long_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_SECONDS", 0.01)
    turns = Turns()
    async with asyncio.timeout(30):
        held = [await turns.take() for _ in range(10)]
    for turn in held:
        turn.end()


async def test_who_leaves_while_waiting_takes_no_turn_along() -> None:
    turns = Turns()
    held = [await turns.take(), await turns.take()]
    leaving = asyncio.create_task(turns.take())
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    for turn in held:
        turn.end()
    async with asyncio.timeout(30):
        await turns.take()
        await turns.take()
