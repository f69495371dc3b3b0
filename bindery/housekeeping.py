"""Looking after images and records: what there is, and making room; never what runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import structlog

from bindery.settings import RetentionSettings
from db.builds import BuildStore
from db.engine import Database
from db.images import ImageStore
from db.pruning import prune
from db.sessions import SessionStore
from registry.retention import Inventory, Removal, removals
from registry.stock import Stock

log = structlog.get_logger(__name__)

_DAY_SECONDS = 86400.0


@dataclass(frozen=True)
class Housekeeping:
    """Keeps a stock between its marks.

    An image that a session or a build needs now is never removed: its record goes first, so that nobody new finds it,
    and its files only if still nobody runs it then.
    """

    stock: Stock
    images: ImageStore
    sessions: SessionStore
    builds: BuildStore
    marks: RetentionSettings

    async def inventory(self) -> Inventory:
        """What is stored, with when each image was last used."""
        records = await self.images.all()
        stored = await self.stock.inventory({record.reference: record.environment_key for record in records})
        used = {record.reference: record.used_at for record in records}
        return replace(
            stored, images=[replace(each, used_at=used.get(each.reference, each.used_at)) for each in stored.images]
        )

    async def plan(self) -> Removal:
        """What would have to go now."""
        needed = await self._needed()
        return removals(
            await self.inventory(),
            needed,
            high_bytes=self.marks.high_bytes,
            low_bytes=self.marks.low_bytes,
            pinned={build.environment_key for build in await self.builds.unfinished() if build.environment_key},
        )

    async def carry_out(self, plan: Removal) -> Removal:
        """Remove what the plan names; returns what was removed."""
        for reference in plan.images:
            await self.images.forget(reference)
        needed = await self._needed()
        gone = [reference for reference in plan.images if reference not in needed]
        for reference in gone:
            await self.stock.remove_image(reference)
        # What was spared keeps its environment: ask the stock again instead of trusting the plan.
        standing = (await self.inventory()).shared_by
        environments = [key for key in plan.environments if not standing.get(key)]
        for key in environments:
            await self.stock.remove_environment(key)
        bases = await self._remove_bases(plan)
        log.info(
            "images.removed",
            images=len(gone),
            environments=len(environments),
            bases=len(bases),
            bytes=plan.freed_bytes,
        )
        return Removal(tuple(gone), tuple(environments), plan.freed_bytes, tuple(bases))

    async def _remove_bases(self, plan: Removal) -> list[str]:
        """Remove the plan's bases that nothing stands on now; none while a build may be about to use one."""
        if not plan.bases or await self.builds.unfinished():
            return []
        left = await self.inventory()
        idle = [name for name in left.idle_bases(left.environments) if name in plan.bases]
        for name in idle:
            await self.stock.remove_base(name)
        return idle

    async def run(self) -> None:
        """Look after the stock now and then, until cancelled."""
        while True:
            await asyncio.sleep(self.marks.check_seconds)
            try:
                plan = await self.plan()
                if plan.images or plan.environments or plan.bases:
                    await self.carry_out(plan)
            except Exception:
                log.exception("images.housekeeping_failed")

    async def _needed(self) -> Collection[str]:
        sessions = {session.image for session in await self.sessions.unfinished()}
        return sessions | {build.image for build in await self.builds.unfinished()}


@dataclass(frozen=True)
class RecordKeeping:
    """Forgets builds, sessions and launches that ended long ago."""

    database: Database
    marks: RetentionSettings
    clock: Callable[[], float] = time.time

    async def carry_out(self) -> int:
        """Forget what is too old now; returns how many records."""
        now = self.clock()
        gone = await prune(
            self.database,
            records_before=now - self.marks.record_days * _DAY_SECONDS,
            launches_before=now - self.marks.launch_days * _DAY_SECONDS,
        )
        if gone:
            log.info("records.forgotten", records=gone)
        return gone

    async def run(self) -> None:
        """Forget now and then, until cancelled."""
        while True:
            try:
                await self.carry_out()
            except Exception:
                log.exception("records.forgetting_failed")
            await asyncio.sleep(self.marks.check_seconds)
