from __future__ import annotations

import asyncio

from web.traffic.watch import NEVER, Watch


class Member:
    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.expirations = 0
        self.seen = asyncio.Event()

    def expired(self) -> None:
        self.expirations += 1
        self.seen.set()


async def test_members_are_told_when_their_deadline_has_passed_and_others_are_not() -> None:
    watch, past, never = Watch(0.001), Member(0), Member(NEVER)
    watch.add(past)
    watch.add(never)
    async with asyncio.timeout(5):
        await past.seen.wait()
    never.deadline = 0
    async with asyncio.timeout(5):
        await never.seen.wait()
    watch.close()


async def test_who_was_removed_is_left_alone() -> None:
    watch, removed, other = Watch(0.001), Member(0), Member(0)
    watch.add(removed)
    watch.add(other)
    watch.remove(removed)
    async with asyncio.timeout(5):
        await other.seen.wait()
    watch.close()
    assert not removed.expirations
