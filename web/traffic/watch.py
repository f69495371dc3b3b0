"""Time limits of many connections with one timer.

A timer per request would cost more than the request's own bookkeeping; limits here are seconds long, so one look at all
connections per tick is cheaper and exact enough.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

NEVER = float("inf")


class Watched(Protocol):
    """Something with a deadline, in the event loop's time; it may be set at any moment."""

    deadline: float

    def expired(self) -> None:
        """The deadline has passed; called again at each tick until it is moved."""
        ...


class Watch:
    """Calls `expired` of its members within a tick after their deadlines; rests while it has none."""

    def __init__(self, tick_seconds: float) -> None:
        self._tick_seconds = tick_seconds
        self._members: set[Watched] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, member: Watched) -> None:
        self._members.add(member)
        if self._timer is None:
            self._arm()

    def remove(self, member: Watched) -> None:
        self._members.discard(member)

    def close(self) -> None:
        """Stop at once."""
        self._members.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._tick_seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        for member in [member for member in self._members if member.deadline <= now]:
            member.expired()
        if self._members and self._timer is None:
            self._arm()
