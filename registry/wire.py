"""One HTTP exchange with a registry: protocol, trust, time and size limits, redirects without credentials."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from yarl import URL

from bindery.errors import BinderyError, RegistryBroken, RegistryUnreachable
from registry.names import Scheme, is_loopback

#: What a body is made of: asked again for each attempt.
Pieces = Callable[[], AsyncIterator[bytes]]

_MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
#: A body may take its request's time, and as long as this many bytes a second take.
_SLOWEST_BYTES_PER_SECOND = 64 * 1024


class Passing(Exception):
    """A fault that may pass: worth another attempt. `error` is what to say when it does not pass."""

    def __init__(self, error: BinderyError, retry_after: float | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.retry_after = retry_after


@dataclass(frozen=True)
class WireSettings:
    """How to reach registries. `schemes` says for a host that it speaks plain http, or https although on loopback."""

    schemes: Mapping[str, Scheme] = field(default_factory=dict)
    ca_bundle: Path | None = None
    connect_seconds: float = 10.0
    #: For one request with its answer, apart from the time that large bodies take.
    request_seconds: float = 60.0


@dataclass(frozen=True)
class Body:
    """What is sent: pieces of `size` bytes together; None is not known yet, and whoever sends it limits its time."""

    pieces: Pieces
    size: int | None

    @property
    def seconds(self) -> float | None:
        """How long sending may take beside the request itself."""
        return None if self.size is None else self.size / _SLOWEST_BYTES_PER_SECOND

    @classmethod
    def of(cls, data: bytes) -> Body:
        """The body of these bytes."""

        async def pieces() -> AsyncIterator[bytes]:
            yield data

        return cls(pieces, len(data))


class Wire:
    """HTTP connections to registries.

    - HTTPS, unless the host is loopback or named as one that speaks plain http.
    - An `Authorization` header reaches the host it was made for, and no other, whatever redirects say.
    - Every exchange has a time limit; what fails on the way raises `Passing`.
    """

    def __init__(self, session: aiohttp.ClientSession, settings: WireSettings) -> None:
        self._session = session
        self.settings = settings

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, settings: WireSettings) -> AsyncIterator[Wire]:
        """A wire that is closed with the block."""
        tls = await asyncio.to_thread(_tls, settings.ca_bundle)
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=settings.connect_seconds, sock_read=settings.request_seconds
        )
        connector = aiohttp.TCPConnector(ssl=tls, limit_per_host=16)
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
        ) as session:
            yield cls(session, settings)

    def base(self, host: str) -> URL:
        """Where a registry answers."""
        scheme = self.settings.schemes.get(host) or ("http" if is_loopback(host) else "https")
        return URL(f"{scheme}://{host}/")

    def check(self, url: URL) -> URL:
        """The URL itself, if it may be spoken to in this way; raises `RegistryBroken`."""
        if not url.absolute:
            raise RegistryBroken("The registry leads to an address that is none.")
        named = [host for host, scheme in self.settings.schemes.items() if scheme == "http"]
        plain = is_loopback(url.authority) or any(URL(f"http://{host}").origin() == url.origin() for host in named)
        if url.scheme not in ("https", "http") or not url.host or (url.scheme == "http" and not plain):
            raise RegistryBroken(
                f"The registry leads to an address without encryption at {url.host or 'nowhere'}.",
                hint="Let the registry name https addresses, or name the host as one that speaks plain http.",
            )
        return url

    def target(self, origin: URL, text: str) -> URL:
        """Where a header of an answer from `origin` leads; raises `RegistryBroken` for where nobody should go."""
        try:
            return self.check(origin.join(URL(text, encoded=True)))
        except ValueError:
            raise RegistryBroken(f"The registry {origin.host} gave an address that is none.") from None

    @contextlib.asynccontextmanager
    async def exchange(
        self, method: str, url: URL, *, headers: Mapping[str, str], body: Body | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One answer, after redirects of GET and HEAD; reading it counts to the time limit.

        Raises `Passing` when the connection fails or is too slow.
        """
        sending = body.seconds if body else 0.0
        try:
            async with asyncio.timeout(None if sending is None else self.settings.request_seconds + sending):
                response = await self._follow(method, url, dict(headers), body)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise _fault(url, error) from error
        async with response:
            try:
                yield response
            except (TimeoutError, aiohttp.ClientError) as error:
                raise _fault(url, error) from error

    async def _follow(
        self, method: str, url: URL, headers: dict[str, str], body: Body | None
    ) -> aiohttp.ClientResponse:
        for _ in range(_MAX_REDIRECTS + 1):
            response = await self._send(method, url, headers, body)
            if response.status not in _REDIRECTS:
                return response
            target = response.headers.get("Location")
            response.close()
            if target is None or method not in ("GET", "HEAD"):
                raise RegistryBroken(f"The registry {url.host} answers {method} with a redirect.")
            following = self.target(url, target)
            if following.origin() != url.origin():
                headers.pop("Authorization", None)
            url = following
        raise RegistryBroken(f"The registry {url.host} redirects without end.")

    async def _send(
        self, method: str, url: URL, headers: Mapping[str, str], body: Body | None
    ) -> aiohttp.ClientResponse:
        sent = {"User-Agent": "bindery", **headers}
        size = body.size if body is not None else 0
        if size is not None and (body is not None or method in ("POST", "PUT", "PATCH")):
            sent["Content-Length"] = str(size)
        return await self._session.request(
            method,
            url,
            headers=sent,
            data=body.pieces() if body is not None and size != 0 else None,
            allow_redirects=False,
            proxy=_proxy(url),
        )


async def read_limited(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The whole body; raises `RegistryBroken` when it has more bytes than `limit`."""
    parts, size = [], 0
    async for piece in response.content.iter_any():
        size += len(piece)
        if size > limit:
            raise RegistryBroken(f"The registry {response.url.host} answers with more than {limit} bytes.")
        parts.append(piece)
    return b"".join(parts)


def _proxy(url: URL) -> str | None:
    """The proxy that the environment names for a URL, never for this machine itself."""
    host = url.host or ""
    if is_loopback(host) or urllib.request.proxy_bypass_environment(f"{host}:{url.port}"):  # type: ignore[attr-defined]
        return None
    proxies = urllib.request.getproxies_environment()
    return proxies.get(url.scheme) or proxies.get("all")


def _tls(ca_bundle: Path | None) -> ssl.SSLContext:
    """The system's trust, and the extra bundle's."""
    context = ssl.create_default_context()
    if ca_bundle is not None:
        context.load_verify_locations(ca_bundle)
    return context


def _fault(url: URL, error: Exception) -> Exception:
    """What a failed exchange means."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return RegistryUnreachable(
            f"The certificate of the registry {url.host} is not trusted.",
            hint="The operator can name an extra CA bundle, or the registry as one that speaks plain http.",
        )
    if isinstance(error, TimeoutError):
        return Passing(RegistryUnreachable(f"The registry {url.host} did not answer in time."))
    return Passing(RegistryUnreachable(f"The connection to the registry {url.host} failed ({type(error).__name__})."))
