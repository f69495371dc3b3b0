"""Launches: what a visitor's request means in rows, and what its stream shows of them.

A stream is a view. Its events' ids say where in the rows it stands, so that it can be resumed anywhere:

    <session>.b<n>  event n of the session's build    <session>.s<n>  event n of the session itself
    <session>.end   the session has ended             end             there never was a session
    build.<id>.<n>  a request that only builds
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace

import structlog

from bindery.errors import BinderyError, DatabaseUnavailable, DiskFull, InternalError, QuotaReached, SessionGone
from builder.providers.base import Resolved
from builder.worker import disk_full
from db import builds as build_rows
from db import sessions as session_rows
from db.builds import Build, BuildStore
from db.event_log import encode
from db.events import Event, Failure
from db.patience import RETRY_SECONDS
from db.sessions import Session, SessionStore
from db.states import BUILD_ENDS, SESSION_ENDS, SessionState
from web.event_stream import Emit, frame
from web.feed import Feeds, Source
from web.intake import Intake, Visit, found_event
from web.introductions import Introductions
from web.line import Line

log = structlog.get_logger(__name__)

#: The id of a terminal event that no row stands behind.
END = "end"

#: How long, in seconds, a stream waits for a database that went away.
PATIENCE_SECONDS = 300.0
#: States in which a session's visitor has nothing more to wait for.
_SETTLED = SESSION_ENDS | {SessionState.READY}

#: How the event begins after which there is none.
_TERMINAL = (b'{"phase": "ready"', b'{"phase": "failed"')

_PLACE = re.compile(r"(?P<session>[\w-]{16,32})\.(?:(?P<log>[bs])(?P<seq>\d{1,9})|end)")
_BUILD_PLACE = re.compile(r"build\.(?P<build>[0-9a-f]{16})\.(?P<seq>\d{1,9})")


class Standing:
    """Where a stream stands: the id of the last event that was emitted, and when."""

    def __init__(self, emit: Emit, at: str) -> None:
        self._emit = emit
        self.at = at
        self.since = time.time()

    @property
    def resumable(self) -> bool:
        """Whether rows stand behind what was emitted last."""
        return self.at not in ("", END)

    async def emit(self, chunk: bytes) -> None:
        """Emit, and remember."""
        await self._emit(chunk)
        begins = chunk.rfind(b"\nid: ") + 1
        if chunk.startswith(b"id: ", begins):
            self.at = chunk[begins + 4 : chunk.index(b"\n", begins)].decode()
            self.since = time.time()


@dataclass(frozen=True)
class Launches:
    """Turns visits into rows and rows into streams."""

    intake: Intake
    builds: BuildStore
    sessions: SessionStore
    feeds: Feeds
    line: Line
    introductions: Introductions
    #: Sessions whose visitors look on now.
    watching: set[str] = field(default_factory=set)
    clock: Callable[[], float] = time.time

    async def over(self, visit: Visit) -> bool:
        """Whether a returning client has seen everything already, so that it is told not to come again (204)."""
        if visit.last_event_id == END:
            return True
        if place := _BUILD_PLACE.fullmatch(visit.last_event_id):
            build = await self.builds.get(place["build"])
            return build is not None and build.ended and int(place["seq"]) > build.last_seq
        session = await self._returning(visit)
        if session is None:
            return False
        place = _PLACE.fullmatch(visit.last_event_id)
        assert place is not None
        if place["log"] is None:
            return True
        settled = session.ended or session.state is SessionState.READY
        return settled and place["log"] == "s" and int(place["seq"]) >= session.last_seq and session.last_seq > 0

    async def stream(self, visit: Visit, emit: Emit) -> None:
        """Emit the events of a visit, from where it stands, to exactly one terminal event; raises no error of ours.

        When the database goes away, the stream goes on where it stands once that is back, as a returning client would.
        """
        stands = Standing(emit, visit.last_event_id)
        try:
            while True:
                try:
                    return await self._follow(replace(visit, last_event_id=stands.at), stands.emit)
                except DatabaseUnavailable:
                    if not stands.resumable or self.clock() - stands.since > PATIENCE_SECONDS:
                        raise
                await asyncio.sleep(RETRY_SECONDS)
        except BinderyError as error:
            await emit(failed(error))
        except Exception as error:
            if disk_full(error):
                await emit(failed(DiskFull("There is no space left on the server's disk.")))
                return None
            incident = secrets.token_hex(4)
            log.exception("launch.internal_error", incident=incident)
            await emit(failed(InternalError(f"Something went wrong in Bindery itself (id {incident}).")))

    async def watch_build(self, build: Build, last_event_id: str, emit: Emit) -> None:
        """Emit a build's events, from after the given id, to one terminal event."""
        place = _BUILD_PLACE.fullmatch(last_event_id)
        await self._build_only(build, int(place["seq"]) if place and place["build"] == build.id else 0, emit)

    async def stop(self, session: Session, reason: str) -> None:
        """End a session at its visitor's wish, and the build that it alone waited for."""
        ending = SessionState.STOPPED if session.state is SessionState.PENDING else SessionState.STOPPING
        await self.sessions.advance(session, ending, [], self.clock(), stop_reason=reason)
        if session.state is SessionState.PENDING and session.build_id:
            waiting = [row for row in await self.sessions.unfinished() if row.build_id == session.build_id]
            if not waiting:
                await self.builds.cancel(session.build_id)

    async def _follow(self, visit: Visit, emit: Emit) -> None:
        place = _BUILD_PLACE.fullmatch(visit.last_event_id)
        if place and (build := await self.builds.get(place["build"])):
            await self._build_only(build, int(place["seq"]), emit)
        elif session := await self._returning(visit):
            await self._watched(session, visit.last_event_id, emit)
        else:
            await self._begin(visit, emit)

    async def _begin(self, visit: Visit, emit: Emit) -> None:
        resolved = await self.intake.resolve(visit)
        if visit.build_only:
            await self._begin_build(resolved, emit)
        else:
            session = await self._session(visit, resolved, emit)
            if visit.about:
                first = f"{session.id}.{'b' if session.build_id else 's'}0"
                event = await self.introductions.of(resolved, session, visit.opens)
                await emit(frame(first, encode(event).encode()))
            await self._watched(session, "", emit)

    async def _begin_build(self, resolved: Resolved, emit: Emit) -> None:
        image, build = await self.intake.wanted(resolved)
        if build is not None:
            await self._build_only(build, 0, emit)
        else:
            done = Event("ready", "Done! Found built image\n", {"imageName": image, "image": image})
            await emit(frame(END, encode(done).encode()))

    async def _session(self, visit: Visit, resolved: Resolved, emit: Emit) -> Session:
        try:
            return await self.intake.session(visit, resolved)
        except QuotaReached:
            image = self.intake.image(resolved)
            if await self.intake.found(image):
                await emit(frame(END, encode(found_event(image)).encode()))
            raise

    async def resumes(self, visit: Visit) -> bool:
        """Whether a visit goes on with a stream that was begun before, and so is no new launch."""
        place = _BUILD_PLACE.fullmatch(visit.last_event_id)
        if place and await self.builds.get(place["build"]):
            return True
        return await self._returning(visit) is not None

    async def _returning(self, visit: Visit) -> Session | None:
        place = _PLACE.fullmatch(visit.last_event_id)
        session = await self.sessions.get(place["session"]) if place else None
        return session if session is not None and session.request.get("binder_request") == visit.request else None

    async def _watched(self, session: Session, last_event_id: str, emit: Emit) -> None:
        self.watching.add(session.id)
        try:
            if last_event_id:
                await self.sessions.watched([session.id], self.clock())
            await self._launch(session, _PLACE.fullmatch(last_event_id), emit)
        finally:
            self.watching.discard(session.id)

    async def _launch(self, session: Session, place: re.Match[str] | None, emit: Emit) -> None:
        in_session = place is not None and place["log"] == "s"
        seen = int(place["seq"]) if place is not None and place["log"] else 0
        if session.build_id and not in_session:
            await self._show(self._build_log(session.build_id), seen, f"{session.id}.b", emit)
        seen = seen if in_session else await self._show_first(session, emit)
        async with self._told_of_line(session, emit):
            last = await self._show(self._session_log(session.id), seen, f"{session.id}.s", emit)
        if last.startswith(_TERMINAL):
            return
        settled = await self.sessions.get(session.id)
        if settled is not None and settled.ready_at is None and settled.error_code is None:
            gone = SessionGone(settled.stop_reason or "The session has ended.", hint="Launch again.")
            await emit(failed(gone, f"{session.id}.end"))

    async def _show_first(self, session: Session, emit: Emit) -> int:
        """Show what a new session's log begins with, without asking for it; returns how many events that was."""
        if session.build_id or session.state is not SessionState.PENDING or session.last_seq != 1:
            return 0
        await emit(frame(f"{session.id}.s1", encode(found_event(session.image)).encode()))
        return 1

    @contextlib.asynccontextmanager
    async def _told_of_line(self, session: Session, emit: Emit) -> AsyncIterator[None]:
        """Tell a visitor who has to wait for a place where it stands, until the block ends."""
        if not self.intake.room.waiting or session.state is not SessionState.PENDING:
            yield
            return
        telling = asyncio.create_task(self._tell_place(session, emit))
        try:
            yield
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)

    async def _tell_place(self, session: Session, emit: Emit) -> None:
        # The id is that of the last event before: a place that was is nothing to come back to.
        async with contextlib.aclosing(self.line.follow(session.id)) as places:
            async for event in places:
                await emit(frame(f"{session.id}.s{session.last_seq}", encode(event).encode()))

    async def _build_only(self, build: Build, seen: int, emit: Emit) -> None:
        await self._show(self._build_log(build.id), seen, f"build.{build.id}.", emit)
        ended = await self.builds.get(build.id)
        assert ended is not None
        last = Event("ready", "Done! Image built\n", {"imageName": build.image, "image": build.image})
        if ended.failure is not None:
            last = ended.failure.event()
        await emit(frame(f"build.{build.id}.{ended.last_seq + 1}", encode(last).encode()))

    async def _show(self, log_source: Source, after: int, prefix: str, emit: Emit) -> bytes:
        """Show a log to its end; returns its last event, empty if there was none."""
        last = b""
        async with self.feeds.feed(log_source) as feed, contextlib.aclosing(feed.follow(after)) as batches:
            async for lines in batches:
                await emit(b"".join(frame(f"{prefix}{line.seq}", line.data) for line in lines))
                last = lines[-1].data
        return last

    def _build_log(self, build_id: str) -> Source:
        return Source(build_rows.topic(build_id), lambda after: self.builds.follow(build_id, after), BUILD_ENDS)

    def _session_log(self, session_id: str) -> Source:
        topic = session_rows.topic(session_id)
        return Source(topic, lambda after: self.sessions.follow(session_id, after), _SETTLED)


def failed(error: BinderyError, event_id: str = END) -> bytes:
    """The terminal event of a request that no row stands behind."""
    event = Failure.of(error).event()
    fields = {**event.fields, "status_code": error.status}
    if error.suggestions:
        fields["suggestions"] = list(error.suggestions)
    if error.retry_after_seconds is not None:
        fields["retry_after_seconds"] = math.ceil(error.retry_after_seconds)
    with_status = Event(event.phase, event.message, fields)
    return frame(event_id, encode(with_status).encode())
