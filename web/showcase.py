"""The showcase: which repositories were launched here lately, and which most often, for the form."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from bindery.settings import StatusSettings
from builder.once import Once
from db.launches import LaunchStore, Popular
from web import links

#: How long, in seconds, the lists are shown before the rows are read again.
FRESH_SECONDS = 60.0
#: The launches of so many seconds count.
PERIOD_SECONDS = 7 * 86400.0
#: Repositories of one list.
MOST = 6


@dataclass(frozen=True)
class Shown:
    """One repository: its name, its provider's, and its link below the service's address."""

    title: str
    provider: str
    path: str
    count: int = 0


@dataclass(frozen=True)
class Lists:
    """What the form shows; both may be empty."""

    recent: tuple[Shown, ...] = ()
    popular: tuple[Shown, ...] = ()


@dataclass
class Showcase:
    """Reads the lists from launches that gave a server, now and then however many ask.

    Repositories of the settings' hidden providers are in none, and an operator can switch the lists off.
    """

    launches: LaunchStore
    settings: StatusSettings
    providers: Sequence[links.Provider]
    clock: Callable[[], float] = time.time
    _known: Lists = field(default_factory=Lists)
    _until: float = 0.0
    _once: Once[Lists] = field(default_factory=Once)

    async def lists(self) -> Lists:
        """What to show now."""
        if not self.settings.popular or self.clock() < self._until:
            return self._known
        return await self._once("lists", self._read)

    async def _read(self) -> Lists:
        now = self.clock()
        since, hidden = now - PERIOD_SECONDS, self.settings.hidden_providers
        recent = await self.launches.recent(since, hidden, MOST)
        popular = [each for each in await self.launches.popular(since, hidden, MOST) if each.count > 1]
        self._known = Lists(tuple(self._shown(recent)), tuple(self._shown(popular)))
        self._until = now + FRESH_SECONDS
        return self._known

    def _shown(self, found: Iterable[Popular]) -> Iterable[Shown]:
        known = {provider["id"]: provider for provider in self.providers}
        for each in found:
            name, _, spec = each.link.removeprefix("v2/").partition("/")
            if name in known and spec:
                repo, ref = links.shown(spec, known[name])
                title = repo if ref in ("", "HEAD", "main", "master") else f"{repo} @ {ref[:40]}"
                yield Shown(title[:120], known[name]["displayName"], each.link, each.count)
