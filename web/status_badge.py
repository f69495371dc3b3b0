"""Badges that say how a repository stands here: from rows alone, and without beginning anything."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from bindery.errors import BinderyError
from db.states import BuildState
from web.assets import Asset, asset
from web.badges import badge
from web.intake import Intake, Visit
from web.shell import Pages
from web.visitor import client_ip, launch_host, raw_tail

#: For how many seconds a badge's commit is taken to be the same.
RESOLVED_SECONDS = 300.0
#: Links remembered at most.
MOST = 5000

_COLOURS: Mapping[str, str] = {
    "ready": "#1f7045",
    "building": "#8a5300",
    "failed": "#a4261d",
    "not built": "#4b5563",
    "not found": "#4b5563",
    "unknown": "#4b5563",
}
_SOON = "public, max-age=30"
_LATER = "public, max-age=120"


@dataclass
class Budget:
    """How often something may be done in a minute: it refills bit by bit."""

    per_minute: int
    clock: Callable[[], float] = time.monotonic
    _left: float = field(init=False)
    _at: float = field(init=False)

    def __post_init__(self) -> None:
        self._left, self._at = float(self.per_minute), self.clock()

    def spend(self) -> bool:
        """Take one; False when there is none left."""
        now = self.clock()
        self._left = min(self.per_minute, self._left + (now - self._at) * self.per_minute / 60)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


@dataclass
class StatusBadges:
    """What badges are made from. Hosts are asked which commit a ref is as often as the budget allows, not more."""

    pages: Pages
    intake: Intake
    budget: Budget
    clock: Callable[[], float] = time.monotonic
    #: The image of each link, or None where the host knows no such thing, and until when that is believed.
    _images: dict[str, tuple[str | None, float]] = field(default_factory=dict)
    _drawn: dict[str, Asset] = field(default_factory=dict)

    async def show(self, request: Request) -> Response:
        """The badge of a link; one that follows no grammar is 404."""
        provider, _, spec = raw_tail(request, f"{self.pages.base_url}badge/").partition("/")
        visit = Visit(
            provider, spec.removesuffix(".svg"), launch_host(request, self.pages.base_url), client_ip(request)
        )
        try:
            self.intake.resolver.parse(visit.provider, visit.spec)
        except BinderyError:
            answer = self._badge("not found").answer(request, _LATER)
            answer.status_code = 404
            return answer
        state = await self._state(visit)
        return self._badge(state).answer(request, _SOON if state in ("building", "unknown") else _LATER)

    async def _state(self, visit: Visit) -> str:
        image, known = await self._image(visit)
        if not known:
            return "unknown"
        if image is None:
            return "not found"
        if await self.intake.images.get(image) is not None:
            return "ready"
        build = await self.intake.builds.latest(image)
        if build is None or build.state in (BuildState.BUILT, BuildState.CANCELLED):
            return "not built"
        return "failed" if build.state is BuildState.FAILED else "building"

    async def _image(self, visit: Visit) -> tuple[str | None, bool]:
        """The link's image, and whether that is known: an answer that is old is better than none."""
        link = visit.request
        image, until = self._images.get(link, (None, -1.0))
        if until > self.clock():
            return image, True
        if not self.budget.spend():
            return image, until >= 0
        try:
            image = self.intake.image(await self.intake.resolve(visit))
        except BinderyError as error:
            if error.retryable:
                return image, until >= 0
            image = None
        if len(self._images) >= MOST:
            self._images.clear()
        self._images[link] = (image, self.clock() + RESOLVED_SECONDS)
        return image, True

    def _badge(self, state: str) -> Asset:
        if state not in self._drawn:
            label = self.pages.presentation.name.lower()
            text = badge(label, state, title=f"{self.pages.presentation.name}: {state}", colour=_COLOURS[state])
            self._drawn[state] = asset(text.encode(), "image/svg+xml")
        return self._drawn[state]


def router(badges: StatusBadges) -> APIRouter:
    """The badges' route."""
    routes = APIRouter()
    path = f"{badges.pages.base_url}badge/{{provider}}/{{spec:path}}"
    routes.add_route(path, badges.show, methods=["GET"])
    return routes
