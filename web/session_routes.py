"""Which server each session has, for the traffic: rows, remembered for a few seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from bindery.errors import DatabaseUnavailable
from db.sessions import Session, SessionStore
from db.states import SessionState
from launcher.activity import Activity
from launcher.spawners.base import Address
from web.shell import Ended
from web.traffic import Gone, Route

#: Seconds for which a route is believed without asking the database.
TTL_SECONDS = 5.0
#: Routes remembered at most; a clean-up drops all that are too old.
MOST = 10_000


@dataclass
class SessionRoutes:
    """The traffic's `Routes` and `Ledger` over the sessions' rows."""

    sessions: SessionStore
    activity: Activity
    clock: Callable[[], float] = time.monotonic
    #: How many requests and WebSockets each session has open.
    open: dict[str, int] = field(default_factory=dict)
    #: The last sessions found gone.
    gone: dict[str, Ended] = field(default_factory=dict)
    _known: dict[str, tuple[Route, float]] = field(default_factory=dict)

    def lookup(self, name: str) -> Route | None:
        """The route, if it was asked for a short while ago."""
        route, until = self._known.get(name, (None, 0.0))
        return route if until > self.clock() else None

    async def resolve(self, name: str) -> Route | Gone | None:
        """The route of a session that serves, `Gone` after its end, None for one that never was."""
        try:
            row = await self.sessions.named(name)
        except DatabaseUnavailable:
            # Notebooks are not concerned by a database that is away: their routes are believed for longer.
            if name in self._known:
                return self._known[name][0]
            raise
        if row is None:
            return None
        if row.state is not SessionState.READY or row.address is None:
            self._known.pop(name, None)
            self._bury(row)
            return Gone()
        route = Route(Address.parse(row.address))
        self._remember(name, route)
        return route

    def _remember(self, name: str, route: Route) -> None:
        now = self.clock()
        if len(self._known) >= MOST:
            self._known = {key: value for key, value in self._known.items() if value[1] > now}
        self._known[name] = (route, now + TTL_SECONDS)

    def _bury(self, row: Session) -> None:
        if len(self.gone) >= MOST:
            self.gone.clear()
        self.gone[row.name] = Ended(
            relaunch=row.request.get("binder_request", ""),
            repository=row.request.get("repo_url", ""),
            ended_at=row.finished_at,
            reason=row.stop_reason or row.error_message or "",
            lost=row.state is SessionState.LOST,
            home=row.launch_host if "url" in row.request else "",
        )

    def on_activity(self, name: str, now: float) -> None:
        """See `Ledger`."""
        self.activity.note(name, now)

    def opened(self, name: str) -> None:
        """See `Ledger`."""
        self.open[name] = self.open.get(name, 0) + 1

    def closed(self, name: str) -> None:
        """See `Ledger`."""
        left = self.open.get(name, 0) - 1
        if left > 0:
            self.open[name] = left
        else:
            self.open.pop(name, None)
