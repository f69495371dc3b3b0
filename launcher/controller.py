"""The controller: compares every session's row with what should be, and with the engine, and acts."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import structlog

from bindery.errors import BinderyError, DatabaseUnavailable, InternalError
from bindery.settings import SessionSettings
from db.builds import ENDED, Build, BuildStore
from db.events import Event, Failure
from db.images import ImageStore
from db.line import Room
from db.sessions import PENDING, Session, SessionStore
from db.states import SessionState
from db.wakeups import Wakeups
from launcher.activity import Activity
from launcher.answering import answers
from launcher.decisions import ABANDONED_SECONDS, Action, Decision, came_at, decide
from launcher.spawners.base import Address, Running, SessionRequest, Spawner, Status

log = structlog.get_logger(__name__)

#: How many times as long as it took the controller rests after a round.
REST = 3
#: Lines of a server's log that a visitor sees when it does not start.
LOG_LINES = 30
#: How often, in seconds, what no session has any more is looked for in the engine.
REAP_SECONDS = 60.0


@dataclass(frozen=True)
class Launchpad:
    """What a controller works with."""

    sessions: SessionStore
    builds: BuildStore
    images: ImageStore
    spawner: Spawner
    wakeups: Wakeups
    activity: Activity
    settings: SessionSettings
    base_url: str
    room: Room = field(default_factory=Room)
    #: Told of each launch that begins (`starting`) and ends (`ready`, `failed`), with the seconds since it began.
    observe: Callable[[Session, SessionState, float], None] = lambda session, state, seconds: None
    clock: Callable[[], float] = time.time


class Controller:
    """Starts, watches and ends sessions until it is cancelled.

    - Each transition is made by whoever's conditional update succeeds, so several controllers do no harm.
    - A server that never answers, ends early or cannot be started makes its session `failed`, with the reason and the
      end of its log; nothing of it is left.
    """

    def __init__(self, launchpad: Launchpad) -> None:
        self._pad = launchpad
        self._busy: dict[str, asyncio.Task[None]] = {}
        #: Those that somebody has ended, whatever is being done about them.
        self._ended: set[str] = set()
        #: Servers that run, and do not answer yet.
        self._looked_at: set[str] = set()
        self._starts = asyncio.Semaphore(launchpad.settings.starts_at_once)

    async def adopt(self) -> None:
        """Reconcile rows and engine after a start: adopt what still runs, mark what is gone, reap what has no row."""
        for row in await self._reap():
            if row.state is SessionState.STARTING:
                # What was asked for is asked for again: a server that is there is adopted.
                self._begin(row, self._launch(row))
            elif row.state is not SessionState.PENDING:
                await self._check(row)

    async def run(self) -> None:
        """Look after all sessions: whenever woken, and every few seconds."""
        try:
            with self._pad.wakeups.listen(PENDING, ENDED) as woken:
                reaped = time.monotonic()
                while True:
                    began = time.monotonic()
                    await self._round(self._look())
                    if began - reaped > REAP_SECONDS:
                        reaped = began
                        await self._round(self._reap())
                    # A round reads all sessions, and each new one asks for a round: a crowd must not keep us reading.
                    await asyncio.sleep(REST * (time.monotonic() - began))
                    await woken.wait(self._pad.settings.check_seconds)
        finally:
            for task in self._busy.values():
                task.cancel()
            await asyncio.gather(*self._busy.values(), return_exceptions=True)

    async def _reap(self) -> list[Session]:
        """Remove what the engine has of sessions that have no row, or an ended one; all others' rows."""
        pad = self._pad
        # In this order: what is in the engine has had a row before.
        names = await pad.spawner.list()
        rows = await pad.sessions.unfinished()
        for name in set(names) - {row.name for row in rows} - set(self._busy):
            log.info("session.reaped", session=name)
            await pad.spawner.stop(name)
        return rows

    async def stop_all(self, reason: str) -> None:
        """End every session; used when an engine's sessions cannot outlive the service."""
        rows = await self._pad.sessions.unfinished()
        started = [row for row in rows if row.state is not SessionState.PENDING]
        await asyncio.gather(*(self._stop(row, reason) for row in started))

    async def _round(self, work: Awaitable[object]) -> None:
        try:
            await work
        except BinderyError as error:
            log.warning("controller.round_failed", code=error.code, message=error.message)
        except Exception:
            log.exception("controller.round_failed")

    async def _look(self) -> None:
        pad = self._pad
        now = pad.clock()
        due = await pad.sessions.due(now - ABANDONED_SECONDS)
        self._ended = {row.name for row in due if row.state is SessionState.STOPPING}
        rows = [row for row in due if row.name not in self._busy]
        builds = await self._builds_of(rows)
        startable = []
        failing: dict[str, list[Session]] = {}
        for row in rows:
            decision = decide(row, builds, pad.activity.seen, pad.settings, now)
            if decision.action is Action.START:
                startable.append(row)
            elif decision.action is Action.FAIL:
                failing.setdefault(row.build_id or "", []).append(row)
            elif decision.action is not Action.WAIT:
                self._begin(row, self._act(row, decision))
            elif row.state is SessionState.READY:
                self._begin(row, self._check(row))
            elif row.state is SessionState.STARTING:
                # Ours would be busy: another controller, or we before the database went away, left it like that.
                self._begin(row, self._launch(row))
        for build_id, waiting in failing.items():
            failure = builds[build_id].failure
            assert failure is not None
            await pad.sessions.fail_all(waiting, failure, now)
        if startable:
            await self._start(sorted(startable, key=lambda row: came_at(row, builds)))

    async def _builds_of(self, rows: list[Session]) -> dict[str, Build]:
        wanted = {row.build_id for row in rows if row.state is SessionState.PENDING and row.build_id}
        found = [await self._pad.builds.get(build_id) for build_id in wanted]
        return {build.id: build for build in found if build is not None}

    def _begin(self, row: Session, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._guarded(row, work), name=f"session-{row.name}")
        self._busy[row.name] = task
        task.add_done_callback(lambda _: self._busy.pop(row.name, None))

    async def _guarded(self, row: Session, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except BinderyError as error:
            # The next round tries again.
            log.warning("session.action_failed", session=row.name, code=error.code, message=error.message)
        except Exception:
            log.exception("session.action_failed", session=row.name)

    async def _act(self, row: Session, decision: Decision) -> None:
        pad = self._pad
        match decision.action:
            case Action.STOP:
                await self._stop(row, decision.reason)
            case Action.FORGET:
                await pad.sessions.advance(row, SessionState.STOPPED, [], pad.clock(), stop_reason=decision.reason)

    async def _start(self, rows: list[Session]) -> None:
        """Start all for which there is room; the others stay in line."""
        pad = self._pad
        events = {row.id: _first_events(row) for row in rows}
        for row in await pad.sessions.start(rows, events, pad.clock(), pad.room):
            self._begin(row, self._launch(row))

    async def _launch(self, row: Session) -> None:
        """See a session that is starting to its end; one whose server was asked for already goes on with that."""
        pad = self._pad
        began = pad.clock()
        ended = SessionState.FAILED
        pad.observe(row, SessionState.STARTING, 0.0)
        try:
            ended = await self._launched(row)
        finally:
            pad.observe(row, ended, pad.clock() - began)

    async def _launched(self, row: Session) -> SessionState:
        try:
            return await self._ready(row, await self._serving(row))
        except DatabaseUnavailable:
            # No fault of the session's: a later round takes it up again.
            raise
        except BinderyError as error:
            failure = error
        except Exception:
            incident = secrets.token_hex(4)
            log.exception("session.internal_error", session=row.name, incident=incident)
            failure = InternalError(f"Something went wrong in Bindery itself (id {incident}).")
        return await self._failed(row, failure)

    async def _serving(self, row: Session) -> Address:
        """Start the server and wait until it answers. Raises `SessionFailed`."""
        pad = self._pad

        async def say(line: str) -> None:
            await pad.sessions.log(row, [Event("launching", f"{line}\n")], pad.clock())

        wanted = self._request(row)
        async with self._starts:
            await pad.spawner.start(wanted)
        seconds = pad.settings.start_timeout_seconds
        return await answers(
            pad.spawner,
            row.name,
            wanted.base_url,
            row.token,
            seconds=seconds,
            say=say,
            wanted=lambda: row.name not in self._ended,
            others=self._looked_at,
        )

    def _request(self, row: Session) -> SessionRequest:
        given = row.request
        environment = {
            "BINDER_REPO_URL": given.get("repo_url", ""),
            "BINDER_REF_URL": given.get("binder_ref_url", ""),
            "BINDER_LAUNCH_HOST": row.launch_host,
            "BINDER_REQUEST": given.get("binder_request", ""),
            "BINDER_PERSISTENT_REQUEST": given.get("binder_persistent_request", ""),
            "BINDER_CLIENT_IP": given.get("binder_client_ip", ""),
        }
        own = row.allowance
        place = f"{self._pad.base_url}user/{row.name}/"
        return SessionRequest(row.name, row.image, place, row.token, environment, own.memory_bytes, own.cpus)

    async def _ready(self, row: Session, address: Address) -> SessionState:
        pad = self._pad
        now = pad.clock()
        fields = {**row.request, "url": row.url, "token": row.token}
        event = Event("ready", f"server running at {row.url}\n", fields)
        if (
            await pad.sessions.advance(row, SessionState.READY, [event], now, address=str(address), ready_at=now)
            is None
        ):
            return await self._overtaken(row)
        log.info("session.ready", session=row.name, seconds=round(now - (row.started_at or now), 3))
        await pad.images.used(row.image, now)
        return SessionState.READY

    async def _overtaken(self, row: Session) -> SessionState:
        """Somebody else moved the session: its server goes, unless another controller made it ready."""
        current = await self._pad.sessions.get(row.id)
        if current is not None and current.state is SessionState.READY:
            return SessionState.READY
        await self._pad.spawner.stop(row.name)
        return SessionState.STOPPED if current is None else current.state

    async def _failed(self, row: Session, error: BinderyError) -> SessionState:
        pad = self._pad
        with contextlib.suppress(BinderyError):
            said = await pad.spawner.logs(row.name, LOG_LINES)
            if said.strip():
                await pad.sessions.log(
                    row, [Event("launching", f"{line}\n") for line in said.splitlines()], pad.clock()
                )
        if await pad.sessions.fail(row, Failure.of(error), pad.clock()) is None:
            return await self._overtaken(row)
        log.warning("session.failed", session=row.name, code=error.code, message=error.message)
        await pad.spawner.stop(row.name)
        return SessionState.FAILED

    async def _stop(self, row: Session, reason: str) -> None:
        pad = self._pad
        await pad.sessions.advance(row, SessionState.STOPPING, [], pad.clock(), stop_reason=reason)
        await pad.spawner.stop(row.name)
        await pad.sessions.advance(row, SessionState.STOPPED, [], pad.clock())
        log.info("session.stopped", session=row.name, reason=reason)

    async def _check(self, row: Session) -> None:
        status = await self._pad.spawner.poll(row.name)
        if status.running is not Running.RUNNING:
            await self._gone(row, status)

    async def _gone(self, row: Session, status: Status) -> None:
        """The engine has no running server of this session."""
        pad = self._pad
        if row.state is SessionState.READY:
            reason = status.failure.message if status.failure else "Its server ended unexpectedly."
            await pad.sessions.advance(row, SessionState.LOST, [], pad.clock(), stop_reason=reason)
        else:
            await pad.sessions.advance(row, SessionState.STOPPED, [], pad.clock())
        log.warning("session.gone", session=row.name, state=row.state)
        await pad.spawner.stop(row.name)


def _first_events(row: Session) -> list[Event]:
    launching = Event("launching", "Launching server...\n")
    if row.last_seq:
        return [launching]
    return [Event("built", "Built image, launching...\n", {"imageName": row.image}), launching]
