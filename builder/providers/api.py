"""The APIs of hosts: questions through the guarded client, answers read strictly, every failure a clear error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import aiohttp
from pydantic import BaseModel, ValidationError
from yarl import URL

from bindery.errors import AuthenticationRequired, HostUnreachable, RepositoryNotFound
from builder.guard import GuardedClient, reading
from builder.rate_limit import rate_limited

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
