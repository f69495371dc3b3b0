"""The Docker Engine's HTTP API: JSON in, JSON out, a time limit on everything."""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp

from bindery.errors import EngineUnavailable

#: Seconds that an engine may take for one answer; a busy disk makes containers slow to come and go.
ANSWER_SECONDS = 60.0
#: The newest version of the API that this was written for; every engine knows 1.41.
NEWEST = (1, 47)

_SOCKETS = ("/var/run/docker.sock", "{XDG_RUNTIME_DIR}/docker.sock", "{HOME}/.docker/run/docker.sock")


class EngineRefused(Exception):
    """The engine answered with an error: an HTTP status, and a sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True)
class Endpoint:
    """Where an engine listens: a Unix socket, or an address, with certificates where TLS is wanted."""

    url: str
    socket: str | None = None
    certificates: Path | None = None

    @classmethod
    def of(cls, host: str, environ: Mapping[str, str]) -> Endpoint:
        """What `host` means, or without one `DOCKER_HOST` and the usual sockets, as Docker's own client reads them."""
        host = host or environ.get("DOCKER_HOST", "") or _usual_socket(environ)
        scheme, _, rest = host.partition("://")
        if scheme == "unix":
            return cls("http://docker", socket=rest)
        if scheme not in ("tcp", "http", "https") or not urlsplit(f"//{rest}").hostname:
            raise EngineUnavailable(
                f"The Docker Engine's address {host} cannot be used.", hint="Use unix:///path or tcp://host:port."
            )
        if scheme == "https" or environ.get("DOCKER_TLS_VERIFY"):
            folder = environ.get("DOCKER_CERT_PATH") or str(Path(environ.get("HOME", "/"), ".docker"))
            return cls(f"https://{rest}", certificates=Path(folder))
        return cls(f"http://{rest}")

    def connector(self) -> aiohttp.BaseConnector:
        """How to connect; the number of connections is not limited."""
        if self.socket is not None:
            return aiohttp.UnixConnector(self.socket, limit=0)
        return aiohttp.TCPConnector(limit=0, ssl=self._tls() if self.certificates else True)

    def _tls(self) -> ssl.SSLContext:
        folder = self.certificates
        assert folder is not None
        try:
            context = ssl.create_default_context(cafile=folder / "ca.pem")
            context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        except OSError as error:
            raise EngineUnavailable(
                f"The certificates for the Docker Engine in {folder} cannot be read.", hint=str(error)
            ) from error
        return context


def _usual_socket(environ: Mapping[str, str]) -> str:
    known = {"XDG_RUNTIME_DIR": environ.get("XDG_RUNTIME_DIR", "/run"), "HOME": environ.get("HOME", "/")}
    paths = [path.format(**known) for path in _SOCKETS]
    return f"unix://{next((path for path in paths if Path(path).exists()), paths[0])}"


class DockerApi:
    """A client of one engine, for the event loop; open it before use.

    Everything asked here may be asked twice without harm, so a connection that was stale is tried once more. Raises
    `EngineRefused` for an answer that is an error, `EngineUnavailable` for none.
    """

    def __init__(self, host: str = "", environ: Mapping[str, str] | None = None) -> None:
        self._endpoint = Endpoint.of(host, os.environ if environ is None else environ)
        self._client: aiohttp.ClientSession | None = None
        self._version = ""

    async def __aenter__(self) -> Self:
        self._client = aiohttp.ClientSession(connector=self._endpoint.connector())
        try:
            said = await self.ask("GET", "/version")
            self._version = f"/v{_spoken(said.get('MinAPIVersion', '1.12'), said['ApiVersion'])}"
        except BaseException as error:
            await self._client.close()
            if isinstance(error, EngineRefused | KeyError | TypeError | ValueError | AttributeError):
                raise EngineUnavailable("What answers is not a Docker Engine.") from error
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.close()

    async def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        seconds: float = ANSWER_SECONDS,
    ) -> Any:
        """One request; the answer as JSON, or as bytes where it is something else."""
        try:
            return await self._asked(method, path, query, body, seconds)
        except aiohttp.ServerDisconnectedError:
            try:
                return await self._asked(method, path, query, body, seconds)
            except aiohttp.ServerDisconnectedError as error:
                raise _unavailable(error) from error

    async def lines(
        self, path: str, *, query: Mapping[str, str], headers: Mapping[str, str], seconds: float
    ) -> AsyncIterator[dict[str, Any]]:
        """What the engine says, line by line, while it does what `path` (a POST) asks for."""
        limit = aiohttp.ClientTimeout(total=seconds)
        try:
            async with self._open.post(self._url(path), params=query, headers=headers, timeout=limit) as answer:
                await _accept(answer)
                async for line in answer.content:
                    yield json.loads(line)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _unavailable(error) from error

    async def _asked(
        self, method: str, path: str, query: Mapping[str, str] | None, body: Mapping[str, Any] | None, seconds: float
    ) -> Any:
        limit = aiohttp.ClientTimeout(total=seconds)
        try:
            async with self._open.request(method, self._url(path), params=query, json=body, timeout=limit) as answer:
                await _accept(answer)
                return await (answer.json() if answer.content_type == "application/json" else answer.read())
        except aiohttp.ServerDisconnectedError:
            raise
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _unavailable(error) from error

    def _url(self, path: str) -> str:
        return f"{self._endpoint.url}{self._version}{path}"

    @property
    def _open(self) -> aiohttp.ClientSession:
        assert self._client is not None, "not open"
        return self._client


async def _accept(answer: aiohttp.ClientResponse) -> None:
    if answer.status >= 400:
        text = await answer.text(errors="replace")
        try:
            text = json.loads(text)["message"]
        except (ValueError, KeyError, TypeError):
            text = text.strip()[:300]
        raise EngineRefused(answer.status, text)


def _unavailable(error: Exception) -> EngineUnavailable:
    reason = "it took too long" if isinstance(error, TimeoutError) else str(error)
    return EngineUnavailable(f"The Docker Engine does not answer: {reason}")


def _spoken(least: str, most: str) -> str:
    """The version of the API to use with an engine."""
    low, high = (tuple(int(part) for part in text.split(".")) for text in (least, most))
    return ".".join(str(part) for part in max(low, min(high, NEWEST)))
