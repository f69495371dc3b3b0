"""A running build's log: lines are written to the database in batches, a few times a second."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence

from bindery.errors import DatabaseUnavailable
from db.builds import Build, BuildStore
from db.events import Event, Failure
from db.patience import patiently
from db.states import BuildState

#: Seconds between two batches.
PERIOD_SECONDS = 0.25
#: Characters of one line that are kept.
MAX_LINE = 8192
#: Lines of one build that are kept.
MAX_LINES = 200_000


class BuildLog:
    """Collects events and writes them while its block runs.

    - The first line after a pause is written at once, further ones a quarter of a second later, together.
    - After `MAX_LINES` lines the log says so once and keeps the end of the build only.
    """

    def __init__(self, store: BuildStore, build: Build, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._build = build
        self._clock = clock
        self._waiting: list[Event] = []
        self._more = asyncio.Event()
        #: Number of the last event that is known to be written.
        self._written = build.last_seq
        # One batch after the other: the build must not end before its last lines are written.
        self._writing = asyncio.Lock()
        self._taken = 0
        self._writer: asyncio.Task[None] | None = None

    async def __aenter__(self) -> BuildLog:
        self._writer = asyncio.create_task(self._write())
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._writer is not None
        self._writer.cancel()
        # Whatever stopped the writer (a lost lease, a full disk) meets the build's own next write too.
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await self._writer

    def add(self, event: Event) -> None:
        """Add an event."""
        self._taken += 1
        if self._taken > MAX_LINES:
            return
        if self._taken == MAX_LINES:
            event = Event("building", f"The log is longer than {MAX_LINES} lines; the rest is left out.\n")
        elif len(event.message) > MAX_LINE:
            event = Event(event.phase, event.message[:MAX_LINE] + " ...\n", event.fields)
        self._waiting.append(event)
        self._more.set()

    def say(self, phase: str, message: str) -> None:
        """Add a line of text."""
        self.add(Event(phase, message))

    async def flush(self) -> None:
        """Write what waits."""
        async with self._writing:
            batch, self._waiting = self._waiting, []
            if batch:
                await self._append(batch)

    async def finish(self, state: BuildState, last: Sequence[Event], failure: Failure | None = None) -> None:
        """Write what waits and end the build, in one transaction."""
        async with self._writing:
            batch, self._waiting = self._waiting, []
            await self._finish(state, [*batch, *last], failure)

    async def _append(self, batch: Sequence[Event]) -> None:
        """Write a batch once, however often the database goes away."""
        until = self._written + len(batch)
        while True:
            try:
                await self._store.append(self._build, batch, self._clock())
                break
            except DatabaseUnavailable:
                # Perhaps only the answer was lost.
                row = await patiently(lambda: self._store.get(self._build.id))
                if row is not None and row.last_seq >= until:
                    break
        self._written = until

    async def _finish(self, state: BuildState, batch: Sequence[Event], failure: Failure | None) -> None:
        while True:
            try:
                return await self._store.finish(self._build, state, batch, self._clock(), failure)
            except DatabaseUnavailable:
                row = await patiently(lambda: self._store.get(self._build.id))
                if row is not None and row.attempt == self._build.attempt and row.state is state:
                    return None

    async def _write(self) -> None:
        while True:
            await self._more.wait()
            self._more.clear()
            await self.flush()
            await asyncio.sleep(PERIOD_SECONDS)
