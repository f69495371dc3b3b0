"""The service at a glance: what runs now, how launches went lately, and what is launched most."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bindery import errors
from bindery.errors import BinderyError, BuildCancelled
from bindery.settings import StatusSettings
from builder.once import Once
from db.builds import BuildStore
from db.launches import LaunchStore, Outcome, Popular, Tally, Times
from db.sessions import SessionStore
from web.health import Health

#: For how many seconds a report is given out again.
TTL_SECONDS = 10.0
#: How many repositories are named.
MOST_POPULAR = 10


@dataclass(frozen=True)
class Window:
    """A length of time that is looked back on, in how many slices it is drawn, and how long a look at it is good for.

    A long window has many rows, and changes little from one minute to the next.
    """

    name: str
    seconds: int
    slots: int
    ttl_seconds: float

    @property
    def slot_seconds(self) -> int:
        """The length of a slice."""
        return self.seconds // self.slots


WINDOWS = (
    Window("hour", 3600, 12, TTL_SECONDS),
    Window("day", 86400, 24, 60.0),
    Window("week", 604800, 28, 600.0),
)


@dataclass(frozen=True)
class Outcomes:
    """How launches ended. Launches that their visitors gave up count for nobody."""

    ready: int = 0
    repository: int = 0
    service: int = 0
    left: int = 0

    @property
    def success(self) -> float | None:
        """Which part of the launches gave a server, of those the repository let us; None: there were none."""
        tried = self.ready + self.service
        return self.ready / tried if tried else None


@dataclass(frozen=True)
class Look:
    """How launches went in one window; `slots` begin at `since`, the newest is not over."""

    window: Window
    made_at: float
    since: float
    outcomes: Outcomes
    times: Mapping[bool, Times]
    slots: Sequence[Outcomes]


@dataclass(frozen=True)
class Report:
    """One look at the service."""

    made_at: float
    healthy: bool
    builds: Mapping[str, int]
    sessions: Mapping[str, int]
    looks: Sequence[Look]
    popular: Sequence[Popular]

    def to_dict(self, settings: StatusSettings) -> dict[str, Any]:
        """The report as plain values, for JSON; times are Unix seconds."""
        return {
            "made_at": self.made_at,
            "healthy": self.healthy,
            "builds": dict(self.builds),
            "sessions": dict(self.sessions),
            "targets": {"success": settings.success_target, "launch_seconds": settings.launch_target_seconds},
            "launches": {look.window.name: _look(look) for look in self.looks},
            "popular": [asdict(each) for each in self.popular],
        }


@dataclass(frozen=True)
class Reporter:
    """Makes reports; however many ask, the database is asked every `TTL_SECONDS` at most, for long windows less."""

    builds: BuildStore
    sessions: SessionStore
    launches: LaunchStore
    health: Health
    settings: StatusSettings
    clock: Callable[[], float] = time.time
    _made: list[Report] = field(default_factory=list)
    _once: Once[Report] = field(default_factory=Once)

    async def report(self) -> Report:
        """The newest report."""
        if self._made and _fresh(self._made[0].made_at, TTL_SECONDS, self.clock()):
            return self._made[0]
        return await self._once("report", self._make)

    async def _make(self) -> Report:
        now = self.clock()
        known = {look.window: look for look in self._made[0].looks} if self._made else {}
        looks = [await self._look(window, now, known.get(window)) for window in WINDOWS]
        made = Report(
            made_at=now,
            healthy=self.health.ok,
            builds=await self.builds.by_state(),
            sessions=await self.sessions.by_state(),
            looks=looks,
            popular=self._made[0].popular if looks[-1] is known.get(WINDOWS[-1]) else await self._popular(now),
        )
        self._made[:] = [made]
        return made

    async def _look(self, window: Window, now: float, known: Look | None) -> Look:
        if known is not None and _fresh(known.made_at, window.ttl_seconds, now):
            return known
        # Slices begin at round times, so that bars do not change their height as time passes.
        since = (now // window.slot_seconds + 1) * window.slot_seconds - window.seconds
        tallies = await self.launches.tallies(since, window.slot_seconds)
        times = await self.launches.times(now - window.seconds)
        slots = [outcomes(each for each in tallies if each.slot == number) for number in range(window.slots)]
        return Look(window, now, since, outcomes(tallies), {each.built: each for each in times}, slots)

    async def _popular(self, now: float) -> Sequence[Popular]:
        if not self.settings.popular:
            return []
        return await self.launches.popular(now - WINDOWS[-1].seconds, self.settings.hidden_providers, MOST_POPULAR)


def _fresh(made_at: float, ttl_seconds: float, now: float) -> bool:
    return 0 <= now - made_at < ttl_seconds


def outcomes(tallies: Iterable[Tally]) -> Outcomes:
    """Counts by whose fault it was."""
    counts: Counter[str] = Counter()
    for each in tallies:
        counts[_fault(each)] += each.count
    return Outcomes(**counts)


def _fault(tally: Tally) -> str:
    if tally.outcome is not Outcome.FAILED:
        return tally.outcome.value
    if tally.error_code == BuildCancelled.code:
        return Outcome.LEFT.value
    return "repository" if tally.error_code in _OF_REPOSITORIES else "service"


def _codes() -> frozenset[str]:
    """Errors that a repository, or whoever named it, can mend."""
    kinds = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, BinderyError)]
    return frozenset(kind.code for kind in kinds if 400 <= kind.status < 424)


_OF_REPOSITORIES = _codes()


def _look(look: Look) -> dict[str, Any]:
    names = {False: "known_image", True: "after_build"}
    times = {names[built]: asdict(each) for built, each in look.times.items()}
    return {
        "since": look.since,
        "slot_seconds": look.window.slot_seconds,
        "outcomes": asdict(look.outcomes),
        "success": look.outcomes.success,
        "times": {name: {key: value for key, value in each.items() if key != "built"} for name, each in times.items()},
        "slots": [asdict(slot) for slot in look.slots],
    }
