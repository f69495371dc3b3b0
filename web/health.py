"""Health: looked at in the background, so that asking costs nothing and never waits behind launches."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field

#: Seconds between two looks, and the longest that one may take.
PERIOD_SECONDS = 5.0
LIMIT_SECONDS = 3.0

Check = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Usage:
    """How many builds and sessions there are, and how many sessions there may be (0: no limit)."""

    builds: int
    sessions: int
    quota: int

    def report(self) -> dict[str, object]:
        """The protocol's check of this name. A full service is not a sick one, so it never fails the whole."""
        return {
            "service": "Pod quota",
            "total_pods": self.builds + self.sessions,
            "build_pods": self.builds,
            "user_pods": self.sessions,
            "quota": self.quota or None,
            "ok": not self.quota or self.sessions <= self.quota,
            "_ignore_failure": True,
        }


@dataclass
class Health:
    """The checks of a service, each by its name; a check that raises or takes too long has failed."""

    checks: Mapping[str, Check]
    count: Callable[[], Awaitable[Usage]] | None = None
    #: Whether the process was asked to stop: it goes on with what it has, and wants nothing new.
    stopping: bool = False
    _results: dict[str, bool] = field(default_factory=dict)
    _usage: Usage | None = None

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Look now and then while the block runs."""
        await self.look()
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def look(self) -> None:
        """Run all checks."""
        answers = await asyncio.gather(*map(_passes, self.checks.values()))
        self._results = dict(zip(self.checks, answers, strict=True))
        if self.count is not None:
            self._usage = await _within_limit(self.count)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(PERIOD_SECONDS)
            await self.look()

    @property
    def ok(self) -> bool:
        """Whether all checks passed when they last ran."""
        return bool(self._results) and all(self._results.values())

    @property
    def ready(self) -> bool:
        """Whether new visitors should be sent here."""
        return self.ok and not self.stopping

    def report(self) -> dict[str, object]:
        """The body of `/health` (protocol page 1.3)."""
        checks: list[dict[str, object]] = [{"service": name, "ok": passed} for name, passed in self._results.items()]
        if self._usage is not None:
            checks.append(self._usage.report())
        return {"ok": self.ok, "checks": checks}


async def _passes(check: Check) -> bool:
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            await check()
    except Exception:
        return False
    return True


async def _within_limit(count: Callable[[], Awaitable[Usage]]) -> Usage | None:
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            return await count()
    except Exception:
        return None
