"""Previews: plans made without a build, a few at a time, so that whoever asks for them cannot keep builds waiting."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from sqlalchemy.exc import OperationalError

from bindery.errors import BinderyError, DatabaseUnavailable, HostUnreachable, InternalError
from bindery.settings import FetchSettings, PreviewSettings
from builder.engines.base import EnvironmentBuilder
from builder.fetch import read_tree
from builder.guard import GuardedClient
from builder.plan import Plan
from builder.planning import plan_for
from builder.providers.base import Fetcher, Resolved
from builder.providers.over_git import from_git
from db.builds import LeaseLost
from db.events import Failure
from db.previews import WANTED, Preview, PreviewStore
from db.wakeups import Wakeups

log = structlog.get_logger(__name__)

#: How often, in seconds, previews are looked for that nobody told of.
POLL_SECONDS = 5.0
#: How often making one is begun again after the service was killed.
MAX_ATTEMPTS = 2


@dataclass(frozen=True)
class PlanningDesk:
    """What previews are made with."""

    previews: PreviewStore
    engine: EnvironmentBuilder
    client: GuardedClient
    wakeups: Wakeups
    #: Folder for what one preview needs while it is made; each has one of its own below it.
    scratch: Path
    settings: PreviewSettings
    fetch: FetchSettings
    providers: Mapping[str, Fetcher] = field(default_factory=dict)
    clock: Callable[[], float] = time.time


class Previewer:
    """Makes previews until it is cancelled; each ends with a plan, or with an error that people can read."""

    def __init__(self, desk: PlanningDesk) -> None:
        self._desk = desk

    async def run(self) -> None:
        """Make as many at a time as the settings say."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._desk.settings.concurrency):
                group.create_task(self._work_for_ever())

    async def _work_for_ever(self) -> None:
        desk = self._desk
        with desk.wakeups.listen(WANTED) as wanted:
            while True:
                try:
                    preview = await desk.previews.claim(2 * desk.settings.timeout_seconds, desk.clock())
                    if preview is not None:
                        await self.make(preview)
                except DatabaseUnavailable as error:
                    log.warning("preview.store_failed", message=error.message)
                    preview = None
                except (OperationalError, OSError, LeaseLost):
                    log.exception("preview.store_failed")
                    preview = None
                if preview is None:
                    await wanted.wait(POLL_SECONDS)

    async def make(self, preview: Preview) -> None:
        """Make one claimed preview."""
        desk = self._desk
        plan: Plan | None = None
        notes: tuple[str, ...] = ()
        failure: Failure | None = None
        try:
            async with asyncio.timeout(desk.settings.timeout_seconds):
                plan = await self._plan(preview)
            notes, failure = _checked(desk.engine, plan)
        except BinderyError as error:
            failure = Failure.of(error)
        except TimeoutError:
            late = HostUnreachable(f"Making the plan took longer than {desk.settings.timeout_seconds:g} seconds.")
            failure = Failure.of(late)
        except Exception:
            incident = secrets.token_hex(4)
            log.exception("preview.internal_error", image=preview.image, incident=incident)
            failure = Failure.of(InternalError(f"Something went wrong in Bindery itself (id {incident})."))
        await desk.previews.finish(preview, plan.to_json() if plan else None, notes, failure, desk.clock())

    async def _plan(self, preview: Preview) -> Plan:
        desk = self._desk
        if preview.attempt > MAX_ATTEMPTS:
            raise InternalError(f"The service stopped during each of {MAX_ATTEMPTS} attempts to make this plan.")
        folder = desk.scratch / secrets.token_hex(8)
        try:
            await asyncio.to_thread(folder.mkdir, parents=True)
            repository = folder / "repository.git"
            commit = await self._fetched(preview, repository)
            return await plan_for(desk.engine, await read_tree(repository, commit, desk.fetch))
        finally:
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))

    async def _fetched(self, preview: Preview, repository: Path) -> str:
        desk = self._desk
        wanted = Resolved(preview.provider, preview.spec, preview.repo_url, preview.ref, preview.ref_url, slug="")
        if preview.provider in desk.providers:
            return await desk.providers[preview.provider].fetch(wanted, repository, desk.fetch, _silent)
        return await from_git(desk.client, wanted, repository, desk.fetch, _silent)


def _checked(engine: EnvironmentBuilder, plan: Plan) -> tuple[tuple[str, ...], Failure | None]:
    """What the engine says of a plan: warnings, or why it cannot carry it out."""
    try:
        return engine.check(plan), None
    except BinderyError as error:
        return (), Failure.of(error)


def _silent(line: str) -> None:
    return None
