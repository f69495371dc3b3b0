"""How long a launch will take, from how long those before it took here."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

from builder.once import Once
from db.durations import BuildDuration, DurationStore

#: How long, in seconds, an estimate is used before the rows are read again.
FRESH_SECONDS = 30.0
#: Fewer durations than this promise nothing.
LEAST = 3
#: "Usually": what the middle three fifths of the durations say.
LOW, HIGH = 0.2, 0.8


@dataclass(frozen=True)
class Estimate:
    """Seconds that something usually takes, and of how many durations that is known."""

    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Forecast:
    """What launches take here; what too little is known of is missing.

    `start` is a server of an image that is there, `reused` a build that finds its environment, `new` one that has to
    make it, also by the kind of its dependency files.
    """

    start: Estimate | None = None
    reused: Estimate | None = None
    new: Estimate | None = None
    new_by_kind: dict[str, Estimate] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """The forecast as plain values, for JSON."""
        return asdict(self)


@dataclass
class Estimates:
    """The service's forecast, read from the rows now and then however many ask."""

    store: DurationStore
    clock: Callable[[], float] = time.monotonic
    _known: Forecast = field(default_factory=Forecast)
    _until: float = -math.inf
    _once: Once[Forecast] = field(default_factory=Once)

    async def forecast(self) -> Forecast:
        """What launches take here."""
        if self.clock() < self._until:
            return self._known
        return await self._once("forecast", self._read)

    async def _read(self) -> Forecast:
        self._known = forecast(await self.store.builds(), await self.store.starts())
        self._until = self.clock() + FRESH_SECONDS
        return self._known


def forecast(builds: Sequence[BuildDuration], starts: Sequence[float]) -> Forecast:
    """What these durations say."""
    new = [build for build in builds if not build.reused]
    by_kind = {kind: estimate([build.seconds for build in new if build.kind == kind]) for kind in {b.kind for b in new}}
    return Forecast(
        start=estimate(starts),
        reused=estimate([build.seconds for build in builds if build.reused]),
        new=estimate([build.seconds for build in new]),
        new_by_kind={kind: known for kind, known in sorted(by_kind.items()) if known is not None},
    )


def estimate(seconds: Sequence[float]) -> Estimate | None:
    """The usual range of some durations; None of too few."""
    if len(seconds) < LEAST:
        return None
    ordered = sorted(max(each, 0.0) for each in seconds)
    return Estimate(round(_at(ordered, LOW), 1), round(_at(ordered, HIGH), 1), len(ordered))


def _at(ordered: Sequence[float], share: float) -> float:
    """The value below which so large a share lies, between two neighbours."""
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)
