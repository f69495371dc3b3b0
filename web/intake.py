"""The intake: what a visitor's request means in rows, if it may have it at all."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from bindery.errors import NotFound, QuotaReached, RequestRefused
from builder.once import Once
from builder.providers.base import Resolved
from builder.resolver import Resolver
from db.builds import Build, BuildStore, Wanted
from db.events import Event
from db.images import ImageStore
from db.line import Room
from db.sessions import Session, SessionStore, SessionWanted
from launcher.rules import Rules
from registry.reference import ImageNames, session_slug
from web.launch_events import Origins, describe


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
    origins: Origins = field(default_factory=Origins)
    #: Whether the stream begins with an event about the launch as a whole, which the protocol does not know.
    about: bool = False
    #: A file of the repository that the visitor would like to read meanwhile.
    opens: str = ""
    #: Whose sessions they are: the hash of the browser's secret.
    browser: str | None = None

    @property
    def request(self) -> str:
        """The protocol's `binder_request`."""
        return f"v2/{self.provider}/{self.spec}"


@dataclass(frozen=True)
class Intake:
    """Turns visits into builds and sessions. The checks' order is the protocol's (page 2.2)."""

    resolver: Resolver
    builds: BuildStore
    sessions: SessionStore
    images: ImageStore
    rules: Rules
    room: Room
    #: Whether the image store has an image, whatever the rows say.
    image_exists: Callable[[str], Awaitable[bool]]
    names: ImageNames
    #: Host of each session's own, with `{name}` in it; empty: the service's.
    session_host: str = ""
    allow_build_only: bool = False
    #: Told of each launch that a quota refused.
    refused: Callable[[Visit, QuotaReached], None] = lambda visit, error: None
    #: Whether each session keeps what the operator's log of launches will say.
    logs_launches: bool = False
    clock: Callable[[], float] = time.time
    _looks: Once[bool] = field(default_factory=Once)
    _requests: Once[Build] = field(default_factory=Once)

    async def request_build(self, visit: Visit) -> Build:
        """The build of a visit's image: one that runs, the one that made it, or a new one."""
        image, build = await self.wanted(await self.resolve(visit))
        build = build or await self.builds.latest(image)
        if build is None:
            raise NotFound("The image is there, but no record of its build.", hint="It was built by another service.")
        return build

    async def request_session(self, visit: Visit) -> Session:
        """A new session of a visit's image, which is built first if need be. Raises `QuotaReached`."""
        return await self.session(visit, await self.resolve(visit))

    async def resolve(self, visit: Visit) -> Resolved:
        """What a visit asks for, if it may. Raises what says why not."""
        provider, spec = visit.provider, visit.spec
        if not visit.operator:
            self.rules.check_open()
        _, parsed = self.resolver.parse(provider, spec, operator=visit.operator)
        self.rules.check(provider, spec)
        self.rules.check_address(spec, parsed.repo_url)
        resolved = await self.resolver.resolve(provider, spec, operator=visit.operator)
        self.rules.check(provider, spec, resolved.spec)
        if visit.build_only and not self.allow_build_only:
            raise RequestRefused(
                "This service does not build images without launching them.",
                hint="Leave build_only out. An operator can set BINDERY_ALLOW_BUILD_ONLY=true.",
            )
        return resolved

    async def wanted(self, resolved: Resolved) -> tuple[str, Build | None]:
        """The image's reference, and the build that makes it if it is not there."""
        image = self.image(resolved)
        return image, None if await self.found(image) else await self._build_of(image, resolved)

    async def session(self, visit: Visit, resolved: Resolved) -> Session:
        """The visit's new session. What has no place is refused before anything is built for it."""
        wanted = self._wish(visit, resolved)
        try:
            if not await self.found(wanted.image):
                await self.sessions.check_room(wanted, self.clock(), self.room)
                wanted = replace(wanted, build_id=(await self._build_of(wanted.image, resolved)).id)
            else:
                wanted = replace(wanted, first=(found_event(wanted.image),))
            return await self.sessions.create(wanted, self.clock(), self.room)
        except QuotaReached as error:
            self.refused(visit, error)
            raise

    def image(self, resolved: Resolved) -> str:
        """The reference of the image of a commit."""
        return self.names.of(resolved.provider, resolved.repo_url, resolved.slug, resolved.ref)

    async def found(self, image: str) -> bool:
        """Whether an image is there."""
        return await self._looks(image, lambda: self._look_for(image))

    async def _look_for(self, image: str) -> bool:
        recorded = await self.images.get(image) is not None
        if not recorded and not self.names.binderhub:
            return False
        if await self.image_exists(image):
            return True
        if recorded:
            await self.images.forget(image)
        return False

    async def _build_of(self, image: str, resolved: Resolved) -> Build:
        return await self._requests(image, lambda: self._request_build(image, resolved))

    async def _request_build(self, image: str, resolved: Resolved) -> Build:
        wanted = Wanted(image, resolved.provider, resolved.spec, resolved.repo_url, resolved.ref, resolved.ref_url)
        waiting = Event("waiting", "Waiting for build to start...\n")
        notice = [Event("waiting", f"{line}\n") for line in resolved.notice.splitlines()]
        build, _ = await self.builds.request(wanted, [*notice, waiting], self.clock())
        return build

    def _wish(self, visit: Visit, resolved: Resolved) -> SessionWanted:
        image = self.image(resolved)
        request = {
            "image": image,
            "repo_url": resolved.repo_url,
            "binder_ref_url": resolved.ref_url,
            "binder_launch_host": visit.launch_host,
            "binder_request": visit.request,
            "binder_persistent_request": f"v2/{resolved.provider}/{resolved.spec}",
            "binder_client_ip": visit.client_ip,
        }
        return SessionWanted(
            slug=session_slug(resolved.repo_url),
            image=image,
            build_id=None,
            launch_host=visit.launch_host,
            host=self.session_host,
            request=request,
            browser=visit.browser,
            repository=resolved.repo_url.lower().removesuffix(".git"),
            allowance=self.rules.allowance(visit.provider, visit.spec),
            launch_event=describe(visit.provider, visit.spec, resolved, visit.origins) if self.logs_launches else None,
        )


def found_event(image: str) -> Event:
    """What a visitor is told first whose image is there."""
    return Event("built", "Found built image, launching...\n", {"imageName": image})
