"""Launches: what a visitor's request means in rows, and what its stream shows of them.

A stream is a view. Its events' ids say where in the rows it stands, so that it can be resumed anywhere:

    <session>.b<n>  event n of the session's build    <session>.s<n>  event n of the session itself
    <session>.end   the session has ended             end             there never was a session
    build.<id>.<n>  a request that only builds
"""

from __future__ import annotations

import contextlib
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from bindery.errors import BinderyError, DiskFull, InternalError, NotFound, SessionGone
from builder.once import Once
from builder.providers.base import Resolved
from builder.resolver import Resolver
from builder.worker import disk_full
from db import builds as build_rows
from db import sessions as session_rows
from db.builds import Build, BuildStore, Wanted
from db.event_log import encode
from db.events import Event, Failure
from db.images import ImageStore
from db.sessions import Session, SessionStore, SessionWanted
from db.states import SessionState
from registry.reference import image_reference, session_slug
from web.event_stream import Emit, frame
from web.feed import Feeds, Source

log = structlog.get_logger(__name__)

#: The id of a terminal event that no row stands behind.
END = "end"

_PLACE = re.compile(r"(?P<session>[\w-]{16,32})\.(?:(?P<log>[bs])(?P<seq>\d{1,9})|end)")
_BUILD_PLACE = re.compile(r"build\.(?P<build>[0-9a-f]{16})\.(?P<seq>\d{1,9})")


@dataclass(frozen=True)
class Visit:
    """What a visitor asks for. `spec` is raw, without trailing slashes; `launch_host` ends with a slash."""

    provider: str
    spec: str
    launch_host: str
    client_ip: str
    operator: bool = False
    build_only: bool = False
    last_event_id: str = ""

    @property
    def request(self) -> str:
        """The protocol's `binder_request`."""
        return f"v2/{self.provider}/{self.spec}"


@dataclass(frozen=True)
class Launches:
    """Turns visits into rows and rows into streams."""

    resolver: Resolver
    builds: BuildStore
    sessions: SessionStore
    images: ImageStore
    feeds: Feeds
    #: Whether the image store has an image, whatever the rows say.
    image_exists: Callable[[str], Awaitable[bool]]
    #: Identity of everything outside of the repository that images depend on.
    runtime: str
    max_sessions: int
    #: What stands before every image's name: a registry's host and path, with a slash at the end.
    image_prefix: str = ""
    #: Sessions whose visitors look on now.
    watching: set[str] = field(default_factory=set)
    clock: Callable[[], float] = time.time
    _once: Once[Build | None] = field(default_factory=Once)

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
        """Emit the events of a visit, from where it stands, to exactly one terminal event; raises no error of ours."""
        try:
            await self._follow(visit, emit)
        except BinderyError as error:
            await emit(failed(error))
        except Exception as error:
            if disk_full(error):
                await emit(failed(DiskFull("There is no space left on the server's disk.")))
                return
            incident = secrets.token_hex(4)
            log.exception("launch.internal_error", incident=incident)
            await emit(failed(InternalError(f"Something went wrong in Bindery itself (id {incident}).")))

    async def request_build(self, visit: Visit) -> Build:
        """The build of a visit's image: one that runs, the one that made it, or a new one."""
        image, build = await self._wanted(await self._resolved(visit))
        build = build or await self.builds.latest(image)
        if build is None:
            raise NotFound("The image is there, but no record of its build.", hint="It was built by another service.")
        return build

    async def request_session(self, visit: Visit) -> Session:
        """A new session of a visit's image, which is built first if need be."""
        resolved = await self._resolved(visit)
        image, build = await self._wanted(resolved)
        return await self._create(visit, resolved, image, build)

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

    async def _resolved(self, visit: Visit) -> Resolved:
        return await self.resolver.resolve(visit.provider, visit.spec, operator=visit.operator)

    async def _follow(self, visit: Visit, emit: Emit) -> None:
        place = _BUILD_PLACE.fullmatch(visit.last_event_id)
        if place and (build := await self.builds.get(place["build"])):
            await self._build_only(build, int(place["seq"]), emit)
        elif session := await self._returning(visit):
            await self._watched(session, visit.last_event_id, emit)
        else:
            await self._begin(visit, emit)

    async def _begin(self, visit: Visit, emit: Emit) -> None:
        resolved = await self._resolved(visit)
        image, build = await self._wanted(resolved)
        if not visit.build_only:
            await self._watched(await self._create(visit, resolved, image, build), "", emit)
        elif build is not None:
            await self._build_only(build, 0, emit)
        else:
            done = Event("ready", "Done! Found built image\n", {"imageName": image, "image": image})
            await emit(frame(END, encode(done).encode()))

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

    async def _wanted(self, resolved: Resolved) -> tuple[str, Build | None]:
        """The image's reference, and the build that makes it if it is not there."""
        name = image_reference(resolved.provider, resolved.repo_url, resolved.slug, resolved.ref, self.runtime)
        image = self.image_prefix + name
        return image, await self._once(image, lambda: self._build_of(image, resolved))

    async def _build_of(self, image: str, resolved: Resolved) -> Build | None:
        if await self.images.get(image) is not None:
            if await self.image_exists(image):
                return None
            await self.images.forget(image)
        wanted = Wanted(image, resolved.provider, resolved.spec, resolved.repo_url, resolved.ref, resolved.ref_url)
        waiting = Event("waiting", "Waiting for build to start...\n")
        notice = [Event("waiting", f"{line}\n") for line in resolved.notice.splitlines()]
        build, _ = await self.builds.request(wanted, [*notice, waiting], self.clock())
        return build

    async def _create(self, visit: Visit, resolved: Resolved, image: str, build: Build | None) -> Session:
        request = {
            "image": image,
            "repo_url": resolved.repo_url,
            "binder_ref_url": resolved.ref_url,
            "binder_launch_host": visit.launch_host,
            "binder_request": visit.request,
            "binder_persistent_request": f"v2/{resolved.provider}/{resolved.spec}",
            "binder_client_ip": visit.client_ip,
        }
        slug = session_slug(resolved.repo_url)
        wanted = SessionWanted(slug, image, build.id if build else None, visit.launch_host, request)
        return await self.sessions.create(wanted, self.clock(), self.max_sessions)

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
        await self._show(self._session_log(session.id), seen if in_session else 0, f"{session.id}.s", emit)
        settled = await self.sessions.get(session.id)
        if settled is not None and settled.ready_at is None and settled.error_code is None:
            gone = SessionGone(settled.stop_reason or "The session has ended.", hint="Launch again.")
            await emit(failed(gone, f"{session.id}.end"))

    async def _build_only(self, build: Build, seen: int, emit: Emit) -> None:
        await self._show(self._build_log(build.id), seen, f"build.{build.id}.", emit)
        ended = await self.builds.get(build.id)
        assert ended is not None
        last = Event("ready", "Done! Image built\n", {"imageName": build.image, "image": build.image})
        if ended.failure is not None:
            last = ended.failure.event()
        await emit(frame(f"build.{build.id}.{ended.last_seq + 1}", encode(last).encode()))

    async def _show(self, log_source: Source, after: int, prefix: str, emit: Emit) -> None:
        async with self.feeds.feed(log_source) as feed, contextlib.aclosing(feed.follow(after)) as batches:
            async for lines in batches:
                await emit(b"".join(frame(f"{prefix}{line.seq}", line.data) for line in lines))

    def _build_log(self, build_id: str) -> Source:
        async def ended() -> bool:
            build = await self.builds.get(build_id)
            return build is None or build.ended

        return Source(build_rows.topic(build_id), lambda after: self.builds.events(build_id, after), ended)

    def _session_log(self, session_id: str) -> Source:
        async def settled() -> bool:
            session = await self.sessions.get(session_id)
            return session is None or session.ended or session.state is SessionState.READY

        return Source(session_rows.topic(session_id), lambda after: self.sessions.events(session_id, after), settled)


def failed(error: BinderyError, event_id: str = END) -> bytes:
    """The terminal event of a request that no row stands behind."""
    event = Failure.of(error).event()
    with_status = Event(event.phase, event.message, {**event.fields, "status_code": error.status})
    return frame(event_id, encode(with_status).encode())
