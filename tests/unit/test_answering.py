"""Waiting for servers' first answers: how often many are looked at."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from bindery.errors import SessionFailed
from launcher.answering import SPACING_SECONDS, answers
from launcher.spawners.base import Address, Running, SessionRequest, Status

WAIT_SECONDS = 0.5


class Silent:
    """A spawner whose servers run, and never listen."""

    def __init__(self, folder: Path) -> None:
        self.looks = 0
        self._folder = folder

    async def start(self, request: SessionRequest) -> None:
        raise AssertionError("nobody asks for that here")

    async def poll(self, name: str) -> Status:
        self.looks += 1
        return Status(Running.RUNNING)

    async def address(self, name: str) -> Address | None:
        return Address(socket=str(self._folder / name))

    async def stop(self, name: str) -> None:
        raise AssertionError("nobody asks for that here")

    async def list(self) -> list[str]:
        return []

    async def logs(self, name: str, lines: int = 100) -> str:
        return ""


async def wait_for(spawner: Silent, name: str, others: set[str]) -> None:
    async def say(line: str) -> None:
        raise AssertionError(line)

    with pytest.raises(SessionFailed, match="did not answer"):
        await answers(spawner, name, "/", "token", seconds=WAIT_SECONDS, say=say, others=others)


async def test_a_crowd_of_servers_is_looked_at_no_more_often_than_a_few(tmp_path: Path) -> None:
    spawner, others = Silent(tmp_path), set[str]()
    began = time.monotonic()
    await asyncio.gather(*(wait_for(spawner, f"s{number}", others) for number in range(200)))
    elapsed = time.monotonic() - began
    # Each is looked at once at the beginning, while the others are not known yet, and once more soon after.
    assert spawner.looks <= 2 * 200 + elapsed / SPACING_SECONDS
    assert not others


async def test_one_alone_is_looked_at_often(tmp_path: Path) -> None:
    spawner = Silent(tmp_path)
    await wait_for(spawner, "s", set())
    alone = spawner.looks
    spawner.looks = 0
    crowd = {f"s{number}" for number in range(200)}
    await wait_for(spawner, "s", crowd)
    assert alone > 2 * spawner.looks
    assert len(crowd) == 200
