"""A WebSocket after its handshake: two connections whose bytes are exchanged, frames unread.

Promises:

- bytes go on in order and unchanged; a side that does not read stops the other side's sending;
- when the visitor ends, what he sent is delivered, and the server may go on speaking for a limited time;
- when the server ends, what it sent is delivered, and the visitor's connection is closed;
- when one side breaks, the other is closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import time

from web.traffic.traffic import Traffic
from web.traffic.watch import NEVER

_ACTIVITY_SECONDS = 1.0


class Splice:
    """Both connections of one WebSocket."""

    def __init__(self, traffic: Traffic, name: str, visitor: asyncio.Transport, upstream: asyncio.Transport) -> None:
        self.deadline = NEVER
        #: Called once when both connections are closed.
        self.on_end: Callable[[Splice], None] = lambda splice: None
        self._traffic = traffic
        self._name = name
        self._transports = (visitor, upstream)
        self._open = 2
        self._next_activity = 0.0
        self._draining = False

    def start(self, *, visitor_full: bool) -> None:
        """Take both connections over."""
        visitor, upstream = self._transports
        self._traffic.counters.websockets += 1
        self._traffic.watch.add(self)
        visitor.set_protocol(_Leg(self, visitor, upstream, self._from_visitor))
        upstream.set_protocol(_Leg(self, upstream, visitor, self._from_upstream))
        if visitor_full:
            upstream.pause_reading()

    def shutdown(self) -> None:
        """The service stops: a WebSocket never ends by itself, so end it, now or after a while."""
        if self._traffic.limits.drain_seconds > 0:
            self._draining = True
            self.limit(self._traffic.limits.drain_seconds)
        else:
            self._close()

    def expired(self) -> None:
        if self._draining:
            self._draining = False
            self._close()
        else:
            for transport in self._transports:
                transport.abort()

    def _close(self) -> None:
        for transport in self._transports:
            transport.close()
        self.deadline = NEVER
        self.limit(self._traffic.limits.shutdown_seconds)

    def limit(self, seconds: float) -> None:
        """Give it so many more seconds at most."""
        self.deadline = min(self.deadline, asyncio.get_running_loop().time() + seconds)

    def ended_by(self, transport: asyncio.Transport) -> bool:
        """A side sends no more; True when it may still receive, which a server that ended never does."""
        upstream = self._transports[1]
        if transport is upstream or upstream.is_closing() or not upstream.can_write_eof():
            return False
        upstream.write_eof()
        self.limit(self._traffic.limits.half_closed_seconds)
        return True

    def lost(self) -> None:
        """One of the connections is closed."""
        self._open -= 1
        self.limit(self._traffic.limits.half_closed_seconds)
        if not self._open:
            self._traffic.watch.remove(self)
            self._traffic.counters.websockets -= 1
            self._traffic.ledger.closed(self._name)
            self.on_end(self)

    def _from_visitor(self, count: int) -> None:
        self._traffic.counters.bytes_received += count
        self._active()

    def _from_upstream(self, count: int) -> None:
        self._traffic.counters.bytes_sent += count
        self._active()

    def _active(self) -> None:
        now = time()
        if now >= self._next_activity:
            self._next_activity = now + _ACTIVITY_SECONDS
            self._traffic.ledger.on_activity(self._name, now)


class _Leg(asyncio.Protocol):
    """One connection; what it receives goes to the other."""

    __slots__ = ("_count", "_other", "_splice", "_transport", "_write")

    def __init__(
        self, splice: Splice, transport: asyncio.Transport, other: asyncio.Transport, count: Callable[[int], None]
    ) -> None:
        self._splice = splice
        self._transport = transport
        self._other = other
        self._write = other.write
        self._count = count

    def data_received(self, data: bytes) -> None:
        self._write(data)
        self._count(len(data))

    def pause_writing(self) -> None:
        self._other.pause_reading()

    def resume_writing(self) -> None:
        if not self._other.is_closing():
            self._other.resume_reading()

    def eof_received(self) -> bool:
        return self._splice.ended_by(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._other.close()
        self._splice.lost()
