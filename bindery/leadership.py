"""Leadership: of all processes that share a database, one does what must not be done twice."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from bindery.errors import BinderyError
from db.leases import LeaseStore, topic
from db.wakeups import Wakeups

log = structlog.get_logger(__name__)

#: How long, in seconds, a leader that gives no sign is waited for.
LEASE_SECONDS = 15.0


@dataclass(frozen=True)
class Leadership:
    """Runs `work` while this process leads, and waits for its turn otherwise, until it is cancelled.

    - Work has ended, in peace or by being cancelled, before the lease may be another one's.
    - A process that is stopped gives the lease back, so that the next one leads at once.
    - Work that fails is logged, and the lease given back: this process or another one tries again.
    """

    leases: LeaseStore
    wakeups: Wakeups
    work: Callable[[], Awaitable[None]]
    name: str = "controller"
    seconds: float = LEASE_SECONDS
    owner: str = field(default_factory=lambda: secrets.token_hex(8))
    clock: Callable[[], float] = time.time

    async def run(self) -> None:
        """Lead whenever nobody else does."""
        try:
            with self.wakeups.listen(topic(self.name)) as free:
                while True:
                    if await self._taken():
                        await self._lead()
                        await self._release()
                    await free.wait(self.seconds / 3)
        finally:
            await asyncio.shield(self._release())

    async def _release(self) -> None:
        with contextlib.suppress(BinderyError):
            await self.leases.release(self.name, self.owner)

    async def _lead(self) -> None:
        log.info("leadership.taken", duty=self.name, owner=self.owner)
        work = asyncio.ensure_future(self.work())
        keep = asyncio.create_task(self._keep())
        try:
            await asyncio.wait({work, keep}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (work, keep):
                task.cancel()
            (failure, _) = await asyncio.gather(work, keep, return_exceptions=True)
        if isinstance(failure, Exception):
            log.error("leadership.work_failed", duty=self.name, exc_info=failure)
        log.warning("leadership.ended", duty=self.name, owner=self.owner)

    async def _keep(self) -> None:
        """Return once the lease is another one's, or a third of it is left and the database does not answer."""
        loop = asyncio.get_running_loop()
        safe_until = loop.time() + self.seconds * 2 / 3
        while loop.time() < safe_until:
            await asyncio.sleep(self.seconds / 6)
            asked_at = loop.time()
            taken = await self._taken(within=safe_until - asked_at)
            if taken:
                safe_until = asked_at + self.seconds * 2 / 3
            elif taken is False:
                return

    async def _taken(self, within: float | None = None) -> bool | None:
        """Whether the lease is ours; None when the database did not say."""
        try:
            async with asyncio.timeout(within):
                return await self.leases.take(self.name, self.owner, self.seconds, self.clock())
        except (BinderyError, TimeoutError) as error:
            log.warning("leadership.unknown", duty=self.name, reason=str(error))
            return None
