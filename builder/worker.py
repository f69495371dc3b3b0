"""The worker: claims builds and carries them out, one step of the state machine after the other."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import secrets
import shutil
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy.exc import OperationalError

from bindery.errors import (
    BinderyError,
    BuildCancelled,
    BuildInterrupted,
    BuildTimedOut,
    DatabaseUnavailable,
    DiskFull,
    InternalError,
)
from bindery.settings import BuildSettings, FetchSettings
from builder.build_log import BuildLog
from builder.documents.desk import Desk, Reading
from builder.engines.base import BuildJob, EnvironmentBuilder, Handover
from builder.fetch import read_tree
from builder.fetch_limits import Tell
from builder.guard import GuardedClient
from builder.plan import Plan
from builder.planning import plan_for
from builder.providers.base import Fetcher, Resolved
from builder.providers.over_git import from_git
from builder.told import told
from db.builds import QUEUE, Build, BuildStore, LeaseLost, cancel_topic
from db.environments import EnvironmentRecord, EnvironmentStore
from db.events import Event, Failure
from db.images import ImageRecord, ImageStore
from db.patience import patiently
from db.states import BuildState
from db.wakeups import Wakeups

log = structlog.get_logger(__name__)

#: How often, in seconds, a worker looks for builds that nobody woke it for.
POLL_SECONDS = 5.0


@dataclass(frozen=True)
class Workshop:
    """What a worker works with."""

    builds: BuildStore
    images: ImageStore
    environments: EnvironmentStore
    engine: EnvironmentBuilder
    client: GuardedClient
    wakeups: Wakeups
    #: Folder for what one build needs while it runs; each has one of its own below it.
    scratch: Path
    build: BuildSettings
    fetch: FetchSettings
    #: Renders what visitors read meanwhile.
    desk: Desk
    #: Who fetches what, by the link's prefix; what is of none of them is fetched with Git.
    providers: Mapping[str, Fetcher] = field(default_factory=dict)
    #: Told of each build that begins (`fetching`) and ends, with the seconds since it began.
    observe: Callable[[Build, BuildState, float], None] = lambda build, state, seconds: None
    clock: Callable[[], float] = time.time


class Worker:
    """Carries out builds until it is cancelled.

    - A build ends built, failed with an error that people can read, or cancelled: whatever happens in its steps.
    - A worker that is stopped gives its builds back; one that loses its lease leaves them alone.
    """

    def __init__(self, workshop: Workshop) -> None:
        self._shop = workshop
        self.name = secrets.token_hex(8)

    async def run(self) -> None:
        """Work on as many builds at a time as the settings say."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._shop.build.concurrency):
                    group.create_task(self._work_for_ever())
        finally:
            with contextlib.suppress(DatabaseUnavailable):
                await asyncio.shield(self._shop.builds.release(self.name))

    async def _work_for_ever(self) -> None:
        with self._shop.wakeups.listen(QUEUE) as queue:
            while True:
                try:
                    busy = await self._claim_and_work()
                except DatabaseUnavailable as error:
                    log.warning("build.store_failed", message=error.message)
                    busy = False
                except (OperationalError, OSError):
                    log.exception("build.store_failed")
                    busy = False
                if not busy:
                    await queue.wait(POLL_SECONDS)

    async def _claim_and_work(self) -> bool:
        shop = self._shop
        build = await shop.builds.claim(self.name, shop.build.lease_seconds, shop.clock())
        if build is not None:
            await self.work(build)
        return build is not None

    async def work(self, build: Build) -> None:
        """Carry out one claimed build to its end."""
        shop = self._shop
        log.info("build.claimed", build=build.id, image=build.image, attempt=build.attempt)
        began = shop.clock()
        state = BuildState.CANCELLED
        shop.observe(build, BuildState.FETCHING, 0.0)
        try:
            state = await self._carry_out(build)
        except LeaseLost:
            log.warning("build.lease_lost", build=build.id, attempt=build.attempt)
        finally:
            shop.observe(build, state, shop.clock() - began)

    async def _carry_out(self, build: Build) -> BuildState:
        shop = self._shop
        folder = shop.scratch / build.id
        async with BuildLog(shop.builds, build, shop.clock) as lines:
            try:
                async with shop.desk.reading(build, lines.add) as reading:
                    failure = await self._attempt(build, folder, lines, reading)
                    state = await self._end(build, lines, failure)
                    await reading.finish()
                    return state
            finally:
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _end(self, build: Build, lines: BuildLog, failure: BinderyError | None) -> BuildState:
        if failure is None:
            await lines.finish(BuildState.BUILT, [])
            log.info("build.built", build=build.id)
            return BuildState.BUILT
        state = BuildState.CANCELLED if isinstance(failure, BuildCancelled) else BuildState.FAILED
        await lines.finish(state, [], Failure.of(failure))
        log.info("build.ended", build=build.id, state=state, code=failure.code, message=failure.message)
        return state

    async def _attempt(self, build: Build, folder: Path, lines: BuildLog, reading: Reading) -> BinderyError | None:
        limit, handover = self._shop.build.timeout_seconds, Handover()
        try:
            async with asyncio.timeout(limit) as clock:
                await self._attended(build, self._steps(build, folder, lines, reading, handover), handover, clock)
        except BinderyError as error:
            return error
        except LeaseLost:
            raise
        except TimeoutError:
            return BuildTimedOut(f"The build took longer than {limit:g} seconds.")
        except Exception as error:
            return _internal(build, error)
        return None

    async def _attended(
        self, build: Build, steps: Coroutine[Any, Any, None], handover: Handover, clock: asyncio.Timeout
    ) -> None:
        """Run the steps while the lease is renewed; a lost lease or a wish to cancel ends them.

        Where it is only this worker that stops, another one goes on with what runs elsewhere.
        """
        work = asyncio.create_task(steps)
        keep = asyncio.create_task(self._keep(build))
        try:
            await asyncio.wait({work, keep}, return_when=asyncio.FIRST_COMPLETED)
            await (work if work.done() else keep)
        except (asyncio.CancelledError, LeaseLost):
            handover.wanted = not clock.expired()
            raise
        finally:
            for task in (work, keep):
                task.cancel()
            await asyncio.gather(work, keep, return_exceptions=True)

    async def _keep(self, build: Build) -> None:
        shop = self._shop
        with shop.wakeups.listen(cancel_topic(build.id)) as cancelled:
            while True:
                # While the database is away nobody else gets the build either.
                if await patiently(lambda: shop.builds.renew(build, shop.build.lease_seconds, shop.clock())):
                    raise BuildCancelled("The build was cancelled.")
                await cancelled.wait(shop.build.lease_seconds / 3)

    async def _steps(self, build: Build, folder: Path, lines: BuildLog, reading: Reading, handover: Handover) -> None:
        shop = self._shop
        if build.attempt > shop.build.max_attempts:
            raise BuildInterrupted(
                f"The service stopped during each of {shop.build.max_attempts} attempts to build this."
            )
        if build.attempt > 1:
            lines.say("waiting", f"The service was restarted: building again, attempt {build.attempt}.\n")
        earlier = await patiently(lambda: told(shop.builds, build)) if build.attempt > 1 else {}
        job = replace(await self._planned(build, folder, lines, reading), told=earlier, handover=handover)
        await _relay(shop.engine.environment(job), lines)
        await self._remember_environment(job.plan.environment_key)
        await patiently(lambda: shop.builds.advance(build, BuildState.COMPOSING))
        await _relay(shop.engine.image(job), lines)
        now = shop.clock()
        key = job.plan.environment_key
        record = ImageRecord(build.image, key, build.repo_url, build.ref, now, now)
        await patiently(lambda: shop.images.add(record))

    async def _remember_environment(self, key: str) -> None:
        """Keep what is installed where pages can read it without the engine."""
        made = await self._shop.engine.find(key)
        if made is not None:
            record = EnvironmentRecord(key, made.lock, made.size_bytes, made.created_at)
            await patiently(lambda: self._shop.environments.put(record))

    async def _planned(self, build: Build, folder: Path, lines: BuildLog, reading: Reading) -> BuildJob:
        shop = self._shop
        lines.say("fetching", f"Fetching {build.repo_url} at {build.ref}\n")
        await asyncio.to_thread(_emptied, folder)
        repository = folder / "repository.git"
        commit = await self._fetched(build, repository, lambda line: lines.say("fetching", line))
        await patiently(lambda: shop.builds.advance(build, BuildState.PLANNING))
        tree = await read_tree(repository, commit, shop.fetch)
        reading.begin(tree)
        plan = await plan_for(shop.engine, tree)
        warnings = shop.engine.check(plan)
        known = await shop.engine.find(plan.environment_key)
        found = {"environment_key": plan.environment_key, "environment_reused": known is not None}
        await patiently(lambda: shop.builds.advance(build, BuildState.BUILDING, plan=plan.to_json(), **found))
        lines.add(_summary(plan, known is not None))
        for warning in (*plan.warnings, *warnings):
            lines.say("building", f"Warning: {warning}\n")
        return BuildJob(build.id, build.image, plan, repository, commit, build.repo_url, build.ref_url, tree=tree)

    async def _fetched(self, build: Build, repository: Path, tell: Tell) -> str:
        """Fetch what the build is of; returns its commit, which an archive gets only now."""
        shop = self._shop
        wanted = Resolved(build.provider, build.spec, build.repo_url, build.ref, build.ref_url, slug="")
        if build.provider in shop.providers:
            return await shop.providers[build.provider].fetch(wanted, repository, shop.fetch, tell)
        return await from_git(shop.client, wanted, repository, shop.fetch, tell)


async def _relay(events: AsyncGenerator[Event, None], lines: BuildLog) -> None:
    async with contextlib.aclosing(events):
        async for event in events:
            lines.add(event)


def _summary(plan: Plan, known: bool) -> Event:
    files = ", ".join(plan.files) or "no dependency files"
    message = f"Plan: {plan.kind}, Python {plan.python} ({plan.python_reason}), from {files}\n"
    return Event("building", message, {"plan": plan.to_dict(), "environment": "reused" if known else "new"})


def _emptied(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _internal(build: Build, error: Exception) -> BinderyError:
    if disk_full(error):
        return DiskFull("There is no space left on the server's disk.")
    incident = secrets.token_hex(4)
    log.error("build.internal_error", build=build.id, incident=incident, exc_info=error)
    return InternalError(f"Something went wrong in Bindery itself (id {incident}).")


def disk_full(error: BaseException) -> bool:
    """Whether an error says that there is no space left."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return isinstance(error, OperationalError) and "disk is full" in str(error)
