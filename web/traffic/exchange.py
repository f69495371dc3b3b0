"""One request of a visitor, carried to a session's server, and its response, carried back.

Promises:

- the response reaches the visitor framed as it was, or visibly cut off: never a part that looks whole;
- a connection is used again only after both request and response ended where their heads said;
- a request is sent a second time only if it changes nothing and the server closed an idle connection under it;
- each side is read as fast as the other side takes it;
- when the visitor goes, so does the request.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from time import time
from typing import Protocol

from web.traffic.answers import Answer, plain
from web.traffic.framing import LAST_CHUNK, UNTIL_CLOSE, Body, FramingError, body_of, chunk
from web.traffic.head import BadHead, RequestHead, ResponseHead, answered_head, parse_response
from web.traffic.reach import Unreachable, reach
from web.traffic.routes import Route
from web.traffic.traffic import Traffic
from web.traffic.upstream import Upstream

_RESET = struct.pack("ii", 1, 0)


class Visitor(Protocol):
    """The connection that the request came on."""

    transport: asyncio.Transport
    #: The service stops: close after this response.
    closing: bool

    def full(self) -> bool:
        """Whether the visitor reads slower than we write."""
        ...

    def pause(self) -> None:
        """Read no more from the visitor until `resume`."""
        ...

    def resume(self) -> None: ...

    def limit(self, seconds: float | None) -> None:
        """Let the exchange expire after so many seconds, or never."""
        ...

    def ended(self, *, close: bool) -> None:
        """The exchange is over."""
        ...

    def switch(self, upstream: asyncio.Transport, name: str) -> None:
        """From now on the connection belongs to a WebSocket."""
        ...


class Exchange:
    """One request and its response."""

    def __init__(
        self, traffic: Traffic, visitor: Visitor, name: str, head: RequestHead, forwarded: bytes, body: Body
    ) -> None:
        self._traffic = traffic
        self._visitor = visitor
        self._name = name
        self._request = head
        self._request_body = body
        self._outgoing = [forwarded]
        self._upstream: Upstream | None = None
        self._search: asyncio.Task[None] | None = None
        self._pending = b""
        self._response: ResponseHead | None = None
        self._response_body: Body | None = None
        self._rechunk = False
        self._close = not head.keep_alive
        self._told = False
        self._over = False

    def start(self) -> None:
        """Send the request, at once if a connection is open."""
        traffic, name = self._traffic, self._name
        traffic.counters.requests += 1
        self._visitor.limit(traffic.limits.response_seconds)
        route = traffic.routes.lookup(name)
        upstream = traffic.pool.take(route.address) if route is not None else None
        if upstream is not None:
            self._attach(upstream)
        else:
            self._search = traffic.spawn(self._reach(route))

    async def _reach(self, route: Route | None) -> None:
        wants_html = b"text/html" in self._request.value(b"accept")
        languages = self._request.value(b"accept-language").decode("latin-1") if wants_html else None
        try:
            upstream = await reach(self._traffic, self._name, route, languages=languages)
        except Unreachable as unreachable:
            self.fail(unreachable.answer)
            return
        if self._over:
            upstream.release(reusable=False)
        else:
            self._attach(upstream)

    def _attach(self, upstream: Upstream) -> None:
        self._upstream = upstream
        upstream.user = self
        if not self._told:
            self._told = True
            self._traffic.ledger.opened(self._name)
            self._traffic.ledger.on_activity(self._name, time())
        if self._visitor.full():
            upstream.pause()
        self._visitor.resume()
        upstream.transport.writelines(self._outgoing)
        if not self._request.repeatable:
            self._outgoing.clear()

    # --- the visitor's side ---------------------------------------------------------------------------------

    def upload(self, data: bytes) -> None:
        """Pass on a part of the request's body."""
        if self._over:
            return
        self._traffic.counters.bytes_received += len(data)
        if self._upstream is None:
            self._outgoing.append(data)
            self._visitor.pause()
        else:
            self._upstream.transport.write(data)
        if self._response is None:
            self._visitor.limit(self._traffic.limits.response_seconds)

    def visitor_full(self) -> None:
        if self._upstream is not None:
            self._upstream.pause()

    def visitor_drained(self) -> None:
        if self._upstream is not None:
            self._upstream.resume()

    def visitor_lost(self) -> None:
        """The visitor is gone: drop everything."""
        self._drop_upstream(reusable=False)
        self._end()

    def expired(self) -> None:
        self.fail(plain(504 if self._request_body.done else 408))

    # --- the server's side ----------------------------------------------------------------------------------

    def upstream_full(self) -> None:
        self._visitor.pause()

    def upstream_drained(self) -> None:
        self._visitor.resume()

    def received(self, data: bytes) -> None:
        """Pass on a part of the response."""
        try:
            if self._response_body is None:
                self._take_head(self._pending + data if self._pending else data)
            else:
                self._pass_on(b"", data)
        except (BadHead, FramingError) as bad:
            self.fail(plain(502, str(bad)))

    def upstream_lost(self, exc: Exception | None) -> None:
        upstream, self._upstream = self._upstream, None
        if self._response is None:
            if self._request.repeatable and upstream is not None and upstream.used and not self._pending:
                self._search = self._traffic.spawn(self._reach(self._traffic.routes.lookup(self._name)))
            else:
                self.fail(plain(502))
        elif self._response.length == UNTIL_CLOSE and exc is None:
            if self._rechunk:
                self._visitor.transport.write(LAST_CHUNK)
            self._finish(exact=False)
        else:
            self.fail(plain(502))

    def _take_head(self, data: bytes) -> None:
        while True:
            end = data.find(b"\r\n\r\n") + 4
            if end < 4 or end > self._traffic.limits.head_bytes:
                if len(data) > self._traffic.limits.head_bytes:
                    raise BadHead("the response's head is too long")
                self._pending = data
                return
            head = parse_response(data[:end], method=self._request.method)
            rest = data[end:]
            if head.status == 101:
                self._switch(head, rest)
                return
            if head.status >= 200:
                self._begin_response(self._traffic.told(head), rest)
                return
            if self._request.http11:
                self._visitor.transport.write(answered_head(head))
            data = rest

    def _begin_response(self, head: ResponseHead, rest: bytes) -> None:
        http11 = self._request.http11
        if head.length < 0 and head.length != UNTIL_CLOSE and not http11:
            raise BadHead("a chunked response to HTTP/1.0")
        self._pending = b""
        self._response = head
        self._response_body = body_of(head.length)
        self._rechunk = head.length == UNTIL_CLOSE and http11
        self._close = self._close or self._visitor.closing or not self._request_body.done
        self._visitor.limit(None)
        self._pass_on(answered_head(head, chunk=self._rechunk, close=self._close), rest)

    def _pass_on(self, head: bytes, data: bytes) -> None:
        body = self._response_body
        assert body is not None
        used = body.feed(data)
        exact = used == len(data)
        part = data if exact else data[:used]
        if self._rechunk and part:
            part = chunk(part)
        self._traffic.counters.bytes_sent += used
        if head or part:
            self._visitor.transport.write(head + part if head else part)
        if body.done:
            self._finish(exact=exact)

    def _switch(self, head: ResponseHead, rest: bytes) -> None:
        upstream = self._upstream
        upgrade = next((value for lower, _, value in head.fields if lower == b"upgrade"), b"")
        if not self._request.websocket or upgrade.lower() != b"websocket" or upstream is None:
            raise BadHead("an upgrade that nobody asked for")
        self._over, self._upstream, upstream.user = True, None, None
        self._visitor.transport.write(answered_head(head) + rest)
        self._visitor.switch(upstream.transport, self._name)

    # --- ends -----------------------------------------------------------------------------------------------

    def fail(self, answer: Answer) -> None:
        """Answer ourselves, or cut the connection when the response has begun."""
        if self._over:
            return
        self._traffic.counters.failures += 1
        self._drop_upstream(reusable=False)
        visitor, request = self._visitor, self._request
        if self._response is not None:
            reset(visitor.transport)
            self._end()
            return
        close = self._close or visitor.closing or request.websocket or not self._request_body.done
        visitor.transport.write(answer.encode(head_only=request.method == b"HEAD", close=close))
        self._end()
        visitor.ended(close=close)

    def _finish(self, *, exact: bool) -> None:
        assert self._response is not None
        self._drop_upstream(reusable=exact and self._response.keep_alive and self._request_body.done)
        self._end()
        self._visitor.ended(close=self._close)

    def _drop_upstream(self, *, reusable: bool) -> None:
        if self._upstream is not None:
            self._upstream.release(reusable=reusable)
            self._upstream = None

    def _end(self) -> None:
        if self._over:
            return
        self._over = True
        if self._search is not None and self._search is not asyncio.current_task():
            self._search.cancel()
        if self._told:
            self._traffic.ledger.closed(self._name)


def reset(transport: asyncio.Transport) -> None:
    """Break a connection in a way that its peer cannot take for a regular end."""
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()
