"""A visitor's connection: service pages and sessions' traffic on one keep-alive connection.

Promises:

- each request's head is checked once, for pages and sessions alike; what breaks the rules is refused;
- a request below `<base_url>user/` goes to its session, any other one to the service, whatever came before;
- where each session has a host of its own, it is answered there alone;
- a later request on the same connection waits until the response to the one before has ended.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import Any, ClassVar

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from web.traffic.answers import Answer, plain
from web.traffic.exchange import Exchange
from web.traffic.framing import Body, Counted, FramingError, body_of
from web.traffic.head import BadHead, RequestHead, forwarded_request, identity_lines, parse_request, service_request
from web.traffic.hosts import is_at_home
from web.traffic.paths import PathRefused, session_name
from web.traffic.splice import Splice
from web.traffic.traffic import Traffic
from web.traffic.watch import NEVER

#: Bytes of later requests that are kept while a response is under way.
_MAX_HELD = 64 * 1024


class _Stage(Enum):
    IDLE = "between requests"
    SERVICE = "the service answers"
    SESSION = "a session answers"
    LINGER = "answered for the last time, what still comes is thrown away"


class TrafficProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with sessions' traffic carried past it."""

    traffic: ClassVar[Traffic]

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.closing = False
        self.deadline = NEVER
        self._stage = _Stage.IDLE
        self._held = b""
        self._head_begun = False
        self._body: Body = Counted(0)
        self._exchange: Exchange | None = None
        self._advancing = False
        self._answered = False
        self._identity = b""
        self._trusted = False

    # --- the transport's side -------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        peer = self.client[0] if self.client else ""
        self._identity = identity_lines(peer, self.scheme or "http")
        self._trusted = self.traffic.trusts(peer)
        self.limit(self.traffic.limits.head_seconds)
        self.traffic.watch.add(self)

    def data_received(self, data: bytes) -> None:
        self._held = self._held + data if self._held else data
        if not self._advancing:
            self._advance()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.traffic.watch.remove(self)
        if self._exchange is not None:
            self._exchange.visitor_lost()
            self._exchange = None

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._exchange is not None:
            self._exchange.visitor_full()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._exchange is not None:
            self._exchange.visitor_drained()

    # --- from request to request ----------------------------------------------------------------------------

    def _advance(self) -> None:
        self._advancing = True
        try:
            while self._held and self._step():
                pass
        finally:
            self._advancing = False

    def _step(self) -> bool:
        """Use some of the held bytes; False when none can be used now."""
        if self._stage is _Stage.LINGER or self.transport.is_closing():
            self._held = b""
            return False
        if self._stage is _Stage.IDLE:
            return self._begin()
        if not self._body.done:
            return self._pass_body()
        if len(self._held) > _MAX_HELD:
            self.pause()
        return False

    def _begin(self) -> bool:
        self._unset_keepalive_if_required()
        data = self._held.lstrip(b"\r\n") if self._held.startswith(b"\r\n") else self._held
        end = data.find(b"\r\n\r\n") + 4
        if end < 4 or end > self.traffic.limits.head_bytes:
            self._wait_for_head(data)
            return False
        raw, self._held, self._head_begun = data[:end], data[end:], False
        try:
            head = parse_request(raw)
            name = session_name(head.target, self.traffic.prefix)
        except BadHead as bad:
            self._refuse(plain(bad.status, str(bad)))
        except PathRefused as refused:
            self._refuse(plain(400, str(refused)))
        else:
            self._body = body_of(head.length)
            self._serve(raw, head) if name is None else self._carry(name, head)
        return True

    def _wait_for_head(self, data: bytes) -> None:
        if len(data) > self.traffic.limits.head_bytes:
            self._refuse(plain(431))
        elif data.count(b"\n") != data.count(b"\r\n"):
            self._refuse(plain(400, "a bare line feed"))
        else:
            if not self._head_begun:
                self._head_begun = True
                self.limit(self.traffic.limits.head_seconds)
            self._held = data

    def _serve(self, raw: bytes, head: RequestHead) -> None:
        self._stage = _Stage.SERVICE
        self._answered = False
        self.limit(None)
        super().data_received(service_request(raw, head))

    def _carry(self, name: str, head: RequestHead) -> None:
        if not is_at_home(name, head, self.traffic.session_host, trusted=self._trusted):
            self._refuse(plain(421))
            return
        self._stage = _Stage.SESSION
        forwarded = forwarded_request(head, self._identity, trusted=self._trusted)
        self._exchange = Exchange(self.traffic, self, name, head, forwarded, self._body)
        self._exchange.start()

    def _pass_body(self) -> bool:
        data = self._held
        try:
            used = self._body.feed(data)
        except FramingError as error:
            self._body_broken(str(error))
            return False
        self._held = data[used:]
        if self._exchange is not None:
            self._exchange.upload(data[:used])
        else:
            super().data_received(data[:used])
            self._end_service()
        return True

    def _body_broken(self, reason: str) -> None:
        if self._exchange is not None:
            self._exchange.fail(plain(400, reason))
        else:
            self.transport.abort()

    def _refuse(self, answer: Answer) -> None:
        self._held = b""
        self.transport.write(answer.encode(close=True))
        self._linger()

    def _finish(self) -> None:
        self.limit(self.traffic.limits.response_seconds)
        if self._body.done:
            self.transport.close()
        else:
            self._linger()

    def _linger(self) -> None:
        """Close so that the answer gets through: end our side, and throw away what comes for a while."""
        self._stage = _Stage.LINGER
        self._held = b""
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self.resume()
            self.limit(self.traffic.limits.linger_seconds)
        else:
            self.transport.close()

    # --- the service's side ---------------------------------------------------------------------------------

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._answered = True
        self._end_service()

    def _end_service(self) -> None:
        if self._answered and self._body.done and self._stage is _Stage.SERVICE:
            self._stage = _Stage.IDLE
            if self._held and not self._advancing:
                self._advance()

    # --- the exchange's side --------------------------------------------------------------------------------

    def full(self) -> bool:
        return self.flow.write_paused

    def pause(self) -> None:
        self.flow.pause_reading()

    def resume(self) -> None:
        if not self.transport.is_closing():
            self.flow.resume_reading()

    def limit(self, seconds: float | None) -> None:
        if not self.closing:
            self.deadline = NEVER if seconds is None else self.loop.time() + seconds

    def ended(self, *, close: bool) -> None:
        self._exchange = None
        if self.transport.is_closing():
            return
        if close or self.closing:
            self._finish()
            return
        self._stage = _Stage.IDLE
        self.limit(self.timeout_keep_alive)
        self.resume()
        if self._held and not self._advancing:
            self._advance()

    def switch(self, upstream: asyncio.Transport, name: str) -> None:
        splice = Splice(self.traffic, name, self.transport, upstream)
        splice.on_end = self.connections.discard
        self.connections.discard(self)
        self.connections.add(splice)  # type: ignore[arg-type]
        self.traffic.watch.remove(self)
        self._exchange = None
        held, self._held = self._held, b""
        if held:
            upstream.write(held)
        self.resume()
        splice.start(visitor_full=self.full())

    # --- ends -----------------------------------------------------------------------------------------------

    def shutdown(self) -> None:
        """The service stops: close idle connections now, busy ones after their response or a while."""
        if self._stage is _Stage.SERVICE:
            super().shutdown()
        elif self._stage is _Stage.SESSION:
            limits = self.traffic.limits
            self.limit(max(limits.shutdown_seconds, limits.drain_seconds))
            self.closing = True
        else:
            self.transport.close()

    def expired(self) -> None:
        """A time limit has passed; which one follows from the stage."""
        if self._stage is _Stage.SESSION and self._exchange is not None and not self.closing:
            self._exchange.expired()
        elif self._stage is _Stage.IDLE and self._held:
            self._refuse(plain(408))
        else:
            self.transport.abort()


def protocol_class(traffic: Traffic) -> type[asyncio.Protocol]:
    """The class for `uvicorn.Config(http=...)` that carries this traffic."""
    return type("BoundTrafficProtocol", (TrafficProtocol,), {"traffic": traffic})
