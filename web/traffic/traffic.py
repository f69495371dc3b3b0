"""What all connections share: routes, limits, upstream connections, counters."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from web.traffic.answers import plain_page
from web.traffic.head import ResponseHead, framed, varied
from web.traffic.paths import user_prefix
from web.traffic.routes import Ledger, Page, Routes
from web.traffic.upstream import Pool
from web.traffic.watch import Watch


@dataclass(frozen=True)
class Limits:
    """Time and size limits of the traffic."""

    head_bytes: int = 64 * 1024
    head_seconds: float = 30.0
    connect_seconds: float = 5.0
    #: From the request's last byte to the response's head; kernels can be slow.
    response_seconds: float = 300.0
    upstream_idle_seconds: float = 30.0
    upstream_idle_connections: int = 64
    #: How long a visitor who still sends may go on after the answer, so that the answer gets through.
    linger_seconds: float = 2.0
    #: How long one side of a WebSocket may stay open after the other ended.
    half_closed_seconds: float = 30.0
    #: How long requests may go on after the service was asked to stop.
    shutdown_seconds: float = 5.0
    #: How long WebSockets may go on after that; with 0 they are closed at once.
    drain_seconds: float = 0.0
    tick_seconds: float = 0.5


@dataclass
class Counters:
    """Sums since the start, and WebSockets open now."""

    requests: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    websockets: int = 0
    failures: int = 0


@dataclass
class Traffic:
    """The traffic of one service; belongs to one event loop."""

    routes: Routes
    ledger: Ledger
    base_url: str = "/"
    gone_page: Page = lambda name, languages: plain_page(424)
    unknown_page: Page = lambda name, languages: plain_page(404)
    unavailable_page: Page = lambda name, languages: plain_page(503)
    page_headers: dict[str, str] = field(default_factory=dict)
    trusted_proxies: tuple[str, ...] = ()
    #: Each session's own host, with `{name}` in it; empty: all share the service's.
    session_host: str = ""
    #: Who may show sessions in frames, as a policy says it; empty: as their servers say themselves.
    frame_ancestors: bytes = b""
    #: Whether sessions' servers answer one origin's pages otherwise than another's.
    varies_by_origin: bool = False
    limits: Limits = field(default_factory=Limits)
    counters: Counters = field(default_factory=Counters, init=False)
    tasks: set[asyncio.Task[None]] = field(default_factory=set, init=False)

    def told(self, head: ResponseHead) -> ResponseHead:
        """A server's head of a response, with what the operator says of other sites."""
        if self.frame_ancestors:
            head = framed(head, self.frame_ancestors)
        return varied(head) if self.varies_by_origin else head

    @cached_property
    def prefix(self) -> bytes:
        return user_prefix(self.base_url)

    @cached_property
    def watch(self) -> Watch:
        return Watch(self.limits.tick_seconds)

    @cached_property
    def pool(self) -> Pool:
        return Pool(
            self.watch,
            connect_seconds=self.limits.connect_seconds,
            idle_seconds=self.limits.upstream_idle_seconds,
            idle_per_address=self.limits.upstream_idle_connections,
        )

    @cached_property
    def _networks(self) -> list[IPv4Network | IPv6Network]:
        return [ip_network(network) for network in self.trusted_proxies]

    def trusts(self, peer: str) -> bool:
        """Whether the peer is one of the trusted proxies."""
        if not self._networks or not peer:
            return False
        address = ip_address(peer.partition("%")[0])
        return any(address in network for network in self._networks)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run it as a task that is kept until it ends."""
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def aclose(self) -> None:
        """Close idle connections and end what still runs; to be called after the server has shut down."""
        self.pool.close()
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.watch.close()
