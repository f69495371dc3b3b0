"""Telling what goes on: work that says lines becomes a stream of events."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any

from db.events import Event

#: Says one line, or a few; waits while nobody listens fast enough.
Say = Callable[[str], Awaitable[None]]

PHASE = "building"


class Line(str):
    """A line that gives its event further fields."""

    __slots__ = ("fields",)

    def __new__(cls, text: str, **fields: Any) -> Line:
        """The line of this text."""
        line = super().__new__(cls, text)
        line.fields = fields
        return line

    fields: Mapping[str, Any]


_WAITING_LINES = 1000


async def narrate(work: Callable[[Say], Awaitable[None]]) -> AsyncGenerator[Event, None]:
    """Do some work and yield what it says; it raises what the work raises.

    The work has ended when the generator has: closing it, or cancelling its task, cancels the work and waits for it.
    """
    lines: asyncio.Queue[str | None] = asyncio.Queue(_WAITING_LINES)

    async def do() -> None:
        try:
            await work(lines.put)
        finally:
            with contextlib.suppress(asyncio.QueueFull):
                lines.put_nowait(None)

    task = asyncio.create_task(do())
    try:
        while (line := await _next(lines, task)) is not None:
            yield Event(PHASE, str(line), line.fields if isinstance(line, Line) else {})
        await task
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})


async def _next(lines: asyncio.Queue[str | None], task: asyncio.Task[None]) -> str | None:
    """The next line; None when there are no more. A full queue has no room for the end, so that is looked for too."""
    if task.done() and lines.empty():
        return None
    return await lines.get()


def ago(moment: float) -> str:
    """How long ago a Unix time was, in one unit."""
    seconds = max(time.time() - moment, 0)
    for length, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= length:
            number = int(seconds // length)
            return f"{number} {unit}{'s' if number > 1 else ''} ago"
    return "just now"
