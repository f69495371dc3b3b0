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


@dataclass
class Health:
    """The checks of a service, each by its name; a check that raises or takes too long has failed."""

    checks: Mapping[str, Check]
    _results: dict[str, bool] = field(default_factory=dict)

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

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(PERIOD_SECONDS)
            await self.look()

    @property
    def ok(self) -> bool:
        """Whether all checks passed when they last ran."""
        return bool(self._results) and all(self._results.values())

    def report(self) -> dict[str, object]:
        """The body of `/health` (protocol page 1.3)."""
        checks = [{"service": name, "ok": passed} for name, passed in self._results.items()]
        return {"ok": self.ok, "checks": checks}


async def _passes(check: Check) -> bool:
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            await check()
    except Exception:
        return False
    return True
