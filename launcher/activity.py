"""When each session was last used: noted in memory at every request, written to the rows now and then."""

from __future__ import annotations

from collections.abc import Mapping

from db.sessions import SessionStore


class Activity:
    """Last uses that are not written yet. What a crash loses is at most one writing period old."""

    def __init__(self) -> None:
        self._seen: dict[str, float] = {}

    def note(self, name: str, now: float) -> None:
        """A session was used."""
        self._seen[name] = now

    @property
    def seen(self) -> Mapping[str, float]:
        """What is not written yet."""
        return self._seen

    async def write(self, sessions: SessionStore) -> None:
        """Write to the rows."""
        seen, self._seen = self._seen, {}
        try:
            await sessions.active(seen)
        except BaseException:
            self._seen = {**seen, **self._seen}
            raise
