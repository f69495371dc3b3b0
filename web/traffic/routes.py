"""What the traffic needs to know about sessions, and what it tells about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from launcher.spawners.base import Address


@dataclass(frozen=True)
class Route:
    """Where a session's server listens."""

    address: Address


@dataclass(frozen=True)
class Gone:
    """The session was here, and has ended."""


class Routes(Protocol):
    """Where sessions are."""

    def lookup(self, name: str) -> Route | None:
        """The route as far as memory knows it; called for every request."""
        ...

    async def resolve(self, name: str) -> Route | Gone | None:
        """The route for certain; asked when memory has none, or when the server does not answer."""
        ...


class Ledger(Protocol):
    """Learns what sessions are used; called for every request, so it must return at once.

    Only names whose server was reached are told, so visitors cannot fill it with names of their own.
    Every `opened` is followed by exactly one `closed`: a request with its answer, or a WebSocket's whole life.
    """

    def on_activity(self, name: str, now: float) -> None:
        """Something was sent or received; `now` is the time since the epoch."""
        ...

    def opened(self, name: str) -> None:
        """A request or WebSocket began."""
        ...

    def closed(self, name: str) -> None:
        """It ended."""
        ...


#: Makes the page about a session: its name, and the Accept-Language header of whoever wants HTML, None for others;
#: gives content type and body.
Page = Callable[[str, str | None], tuple[str, bytes]]
