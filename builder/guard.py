"""The one door to hosts that a visitor can name: global addresses only, checked, and the checked one is used."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from bindery.errors import HostRefused, HostUnreachable

#: Redirects followed before a host is given up.
MAX_REDIRECTS = 5
#: Ranges that stand for another address, which may be a private one: NAT64, 6to4, Teredo.
_TRANSLATED = tuple(map(ipaddress.ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")))

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True)
class Endpoint:
    """A host that was checked: the name as in the URL, the port, and the addresses that may be contacted."""

    host: str
    port: int
    addresses: tuple[str, ...]


@dataclass(frozen=True)
class Guard:
    """Decides which hosts may be contacted. `allow_private` also admits private and loopback addresses."""

    allow_private: bool
    timeout_seconds: float

    async def endpoint(self, url: URL) -> Endpoint:
        """Resolve and check the host of an http(s) URL.

        Raises `HostRefused` when any of its addresses is not global, `HostUnreachable` when it has none.
        """
        if url.scheme not in ("http", "https") or not url.host or url.port is None:
            raise HostRefused(
                f"Only http and https addresses can be contacted, not {_shown(url)}.",
                hint="Use the repository's https address.",
            )
        return Endpoint(url.host, url.port, tuple(await self.addresses(url.host, url.port)))

    async def addresses(self, host: str, port: int) -> list[str]:
        """All addresses of a host, each checked."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.timeout_seconds):
                found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError, TimeoutError) as error:
            raise HostUnreachable(
                f"The host {host} cannot be found.", hint="Check the spelling of the address."
            ) from error
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        if any(map(_is_link_local, addresses)):
            # Clouds answer there with their machines' credentials; no repository is at such an address anywhere.
            raise HostRefused(f"The host {host} is a link-local address.", hint="Use the repository's own address.")
        if not self.allow_private and not all(map(is_global, addresses)):
            raise HostRefused(
                f"The host {host} is on a private or local network, which links may not name here.",
                hint="Use a public address. An operator of a private installation can set "
                "BINDERY_ALLOW_PRIVATE_REPOSITORY_HOSTS=true.",
            )
        return addresses


def is_global(address: str) -> bool:
    """Whether an IP address is one of the public internet's own, not private, local, multicast or translated."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_global(str(ip.ipv4_mapped))
        if any(ip in network for network in _TRANSLATED):
            return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def _is_link_local(address: str) -> bool:
    ip = ipaddress.ip_address(address.partition("%")[0])
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_link_local


class _CheckedResolver(AbstractResolver):
    """aiohttp's look-ups go through the guard, so the address that was checked is the one that is used."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in await self._guard.addresses(host, port)
        ]

    async def close(self) -> None:
        pass


class GuardedClient:
    """An HTTP client for hosts that visitors name: every hop checked, time limited, no cookies kept."""

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        #: What Git servers said of themselves lately, by address: when, and what.
        self.greeted: dict[str, tuple[float, Any]] = {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> GuardedClient:
        # Without keep-alive: a pooled connection would outlive the check of its address.
        connector = aiohttp.TCPConnector(resolver=_CheckedResolver(self.guard), use_dns_cache=False, force_close=True)
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=self.guard.timeout_seconds),
            headers={"User-Agent": "Bindery"},
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._session is not None:
            await self._session.close()

    @contextlib.asynccontextmanager
    async def get(
        self, url: URL, headers: Mapping[str, str], *, method: str = "GET", timeout: aiohttp.ClientTimeout | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """GET, following redirects to checked hosts only; `HostUnreachable` when nothing usable answers.

        A login in the headers is for the first host alone. `timeout` replaces the guard's own. Reading the answer's
        body may still fail; `reading` says what that means.
        """
        for _ in range(MAX_REDIRECTS + 1):
            async with self.ask(url, headers, method=method, timeout=timeout) as response:
                onward = redirect(response)
                if onward is None:
                    yield response
                    return
            if (onward.scheme, onward.host, onward.port) != (url.scheme, url.host, url.port):
                headers = {name: value for name, value in headers.items() if name != "Authorization"}
            url = onward
        raise too_many_redirects(url)

    @contextlib.asynccontextmanager
    async def ask(
        self,
        url: URL,
        headers: Mapping[str, str],
        *,
        method: str = "GET",
        data: bytes | None = None,
        timeout: aiohttp.ClientTimeout | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One request to a checked host, whatever it answers: redirects are not followed."""
        assert self._session is not None, "used outside of its block"
        await self.guard.endpoint(url)
        options: dict[str, Any] = {} if timeout is None else {"timeout": timeout}
        with reading(url):
            response = await self._session.request(
                method, url, headers=headers, data=data, allow_redirects=False, **options
            )
        try:
            yield response
        finally:
            response.close()


@contextlib.contextmanager
def reading(url: URL) -> Iterator[None]:
    """Whatever breaks while an answer is waited for or read becomes `HostUnreachable`."""
    try:
        yield
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise HostUnreachable(f"{url.host} does not answer: {_reason(error)}.") from error


async def read_at_most(response: aiohttp.ClientResponse, most: int) -> bytes:
    """The body of an answer. Raises `HostUnreachable` for a longer one."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > most:
            raise HostUnreachable(f"{response.url.host} answers with more than {most} bytes.")
    return bytes(body)


def redirect(response: aiohttp.ClientResponse) -> URL | None:
    """Where an answer sends its client; None when it is the answer."""
    location = response.headers.get("Location")
    if response.status not in _REDIRECTS or location is None:
        return None
    return _joined(response.url, location)


def too_many_redirects(url: URL) -> HostUnreachable:
    """The error for a host that sends its client round in circles."""
    return HostUnreachable(f"{url.host} redirects more than {MAX_REDIRECTS} times.")


def _joined(url: URL, location: str) -> URL:
    try:
        joined = url.join(URL(location, encoded=True))
        # Parts are checked only when they are looked at.
        _ = (joined.host, joined.port, str(joined))
    except ValueError as error:
        raise HostUnreachable(f"{url.host} redirects to something that is no address.") from error
    return joined


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it took too long"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its TLS certificate is not valid"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "the connection was refused"
    return "the connection broke"


def _shown(url: URL) -> str:
    return str(url.with_user(None)) if url.host else str(url)
