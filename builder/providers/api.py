"""The APIs of hosts: questions through the guarded client, answers read strictly, every failure a clear error."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

import aiohttp
from pydantic import BaseModel, ValidationError
from yarl import URL

from bindery.errors import AuthenticationRequired, HostBusy, HostUnreachable, RepositoryNotFound
from builder.guard import GuardedClient, reading

#: A longer answer than so many bytes is none that we asked for.
MAX_ANSWER = 16 * 1024 * 1024

Answer = TypeVar("Answer", bound=BaseModel)


@dataclass(frozen=True)
class Api:
    """One host's API. `headers` may carry the operator's token; it goes to the host that is asked and no further."""

    client: GuardedClient
    headers: Mapping[str, str] = field(default_factory=dict)

    async def read(self, shape: type[Answer], url: URL, absent: str, *, method: str = "GET") -> Answer:
        """The answer to one question, as `shape`. `absent` says what a 404 means.

        Raises `RepositoryNotFound`, `AuthenticationRequired`, `HostBusy` or `HostUnreachable`.
        """
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", **self.headers}
        async with self.client.get(url, headers, method=method) as response:
            check_status(response, absent)
            body = await _body(response)
        try:
            return shape.model_validate_json(body)
        except ValidationError as error:
            raise HostUnreachable(f"{url.host} answered something that its interface does not promise.") from error


async def _body(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    with reading(response.url):
        async for chunk in response.content.iter_chunked(64 * 1024):
            body += chunk
            if len(body) > MAX_ANSWER:
                raise HostUnreachable(f"{response.url.host} answered more than {MAX_ANSWER // 1024 // 1024} MiB.")
    return bytes(body)


def address(text: str, host: str) -> URL:
    """An address that a host names in its answer. Raises `HostUnreachable` for what is none."""
    try:
        url = URL(text)
        if url.scheme in ("http", "https") and url.host and url.port is not None:
            return url
    except ValueError:
        pass
    raise HostUnreachable(f"{host} names {text[:200]!r} as the place of a file, which is no address.")


def check_status(response: aiohttp.ClientResponse, absent: str) -> None:
    """Raise what an answer's status means, unless it is a success; `absent` says what 404 means."""
    status, host = response.status, response.url.host
    if 200 <= status < 300:
        return
    if busy := rate_limited(response):
        raise busy
    if status in (401, 403):
        raise AuthenticationRequired(f"{host} does not let everybody read this: it is private or restricted.")
    if status == 410:
        raise RepositoryNotFound(f"{absent} It was removed.", hint="Ask its author or the host why it was removed.")
    if status in (400, 404, 422):
        raise RepositoryNotFound(absent)
    raise HostUnreachable(f"{host} answered HTTP {status}: {response.reason or 'no reason given'}")


def rate_limited(response: aiohttp.ClientResponse) -> HostBusy | None:
    """The error for a host that has had enough of us; None for any other answer."""
    headers, host = response.headers, response.url.host or ""
    spent = headers.get("X-RateLimit-Remaining", headers.get("RateLimit-Remaining")) == "0"
    if response.status == 403 and spent:
        name = "GitHub" if "X-GitHub-Request-Id" in headers or "github" in host else host
        minutes = _minutes(headers, step=5)
        return HostBusy(f"{name} rate limit exceeded. Try again in {minutes} minutes.")
    if response.status == 429 or (response.status == 503 and "Retry-After" in headers):
        return HostBusy(f"{host} is asked too often at the moment. Try again in {_minutes(headers)} minutes.")
    return None


def _minutes(headers: Mapping[str, str], step: int = 1) -> int:
    """How long to wait, in minutes, rounded up to a multiple of `step`; one step when nothing is said."""
    seconds = _seconds(headers.get("Retry-After", ""))
    reset = headers.get("X-RateLimit-Reset", "")
    if not seconds and reset.isdecimal() and len(reset) < 12:
        seconds = int(reset) - time.time()
    return max(math.ceil(min(seconds, 86400) / 60 / step), 1) * step


def _seconds(text: str) -> float:
    if text.isdecimal():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return 0.0
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - datetime.now(UTC)).total_seconds()
