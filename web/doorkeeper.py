"""Who may launch now: tokens of pages, and a limit for everybody else."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.requests import Request

from bindery.errors import NetworkBanned, RateLimitExceeded
from bindery.settings import RateLimitSettings
from db.rates import Rate, RateStore
from web.build_token import BuildTokens
from web.intake import Visit

#: Networks, each with who that is.
Banned = Sequence[tuple[IPv4Network | IPv6Network, str]]

#: One household or machine has at least so many bits of IPv6 addresses to itself.
_IPV6_CLIENT_BITS = 64


@dataclass(frozen=True)
class Doorkeeper:
    """Checks tokens and rates before any work (protocol page 2.2, 2.6, 2.7).

    A valid token and the operator's own requests are not counted. A resumed stream is not a new launch.
    """

    tokens: BuildTokens
    rates: RateStore
    settings: RateLimitSettings
    banned: Banned = ()
    clock: Callable[[], float] = field(default=time.time)

    def check_network(self, client_ip: str) -> None:
        """Raise `NetworkBanned` for a client of a network that the operator serves nothing."""
        address = _address(client_ip)
        for network, label in self.banned:
            if address is not None and address in network:
                raise NetworkBanned(f"Requests from {label} are not allowed")

    async def admit(self, request: Request, visit: Visit) -> Rate | None:
        """Count a new launch; the client's account, if it is counted.

        Raises `InvalidBuildToken`. An account that is `exceeded` is returned, so that its headers can be sent.
        """
        token = request.query_params.get("build_token", "")
        if token:
            self.tokens.check(request, f"{visit.provider}/{visit.spec}", token)
            return None
        if not self.settings.limit or visit.operator:
            return None
        limit, period = self.settings.limit, self.settings.period_seconds
        return await self.rates.count(account(visit.client_ip), limit, period, self.clock())

    def refuse_if_exceeded(self, rate: Rate | None) -> None:
        """Raise `RateLimitExceeded`, with the time that is left, for an account that is."""
        if rate is None or not rate.exceeded:
            return
        seconds = max(math.ceil(rate.reset_at - self.clock()), 1)
        error = RateLimitExceeded(f"Rate limit exceeded. Try again in {seconds} seconds.")
        error.retry_after_seconds = seconds
        raise error


def headers(rate: Rate | None) -> dict[str, str]:
    """The account as the protocol's response headers."""
    if rate is None:
        return {}
    return {
        "x-ratelimit-limit": str(rate.limit),
        "x-ratelimit-remaining": str(rate.remaining),
        "x-ratelimit-reset": str(int(rate.reset_at)),
    }


def banned_networks(settings: Mapping[str, str]) -> Banned:
    """Networks as the settings name them."""
    return [(ip_network(block), label) for block, label in settings.items()]


def account(client_ip: str) -> str:
    """Whose account a launch goes to: an IPv4 address, or the network that one IPv6 client has to itself."""
    address = _address(client_ip)
    if isinstance(address, IPv6Address):
        return str(ip_network((address, _IPV6_CLIENT_BITS), strict=False))
    return client_ip if address is None else str(address)


def _address(client_ip: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(client_ip.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
