"""Requests to a registry: logged in, tried again while a fault may pass, refused with a reason."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import json
import random
import re
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL

from bindery.errors import (
    BinderyError,
    ImageNotFound,
    RegistryBroken,
    RegistryBusy,
    RegistryFull,
    RegistryRefused,
    RegistryUnreachable,
)
from registry.auth import Authenticator, parse_challenges, scope
from registry.names import Repository
from registry.wire import Body, Passing, Wire, read_limited

_MAX_SAID = 300
_MAX_ERROR_BYTES = 64 * 1024


@dataclass(frozen=True)
class RetryPolicy:
    """How often, and after which pauses, something is tried again."""

    attempts: int = 5
    first_seconds: float = 0.25
    longest_seconds: float = 8.0
    #: A registry that asks to wait longer than this is not waited for.
    longest_asked_seconds: float = 60.0


class Attempts:
    """The attempts at one thing."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._made = 0

    def forget(self) -> None:
        """Count anew, after progress."""
        self._made = 0

    async def pause(self, fault: Passing) -> None:
        """Wait before the next attempt; raises the fault's error when there are none left."""
        self._made += 1
        asked = fault.retry_after
        if self._made >= self._policy.attempts or (asked or 0) > self._policy.longest_asked_seconds:
            raise fault.error from fault
        backoff = min(self._policy.first_seconds * 2 ** (self._made - 1), self._policy.longest_seconds)
        await asyncio.sleep(backoff * random.uniform(0.5, 1.0) if asked is None else asked)  # noqa: S311


@dataclass(frozen=True)
class Call:
    """A request in a repository. `path` follows `/v2/<name>/`; `url` is used instead where a registry gave one."""

    method: str
    repository: Repository
    path: str = ""
    actions: str = "pull"
    url: URL | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None
    #: Statuses that the caller deals with, beside those of success.
    accept: frozenset[int] = frozenset()
    #: A repository of the same registry that is read too.
    source: Repository | None = None

    @property
    def scopes(self) -> frozenset[str]:
        """What a token has to allow."""
        own = frozenset({scope(self.repository, self.actions)})
        return own if self.source is None else own | {scope(self.source, "pull")}


@dataclass(frozen=True)
class Answer:
    """What a registry answered."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    url: URL


class Transport:
    """Requests to registries; see the module."""

    def __init__(self, wire: Wire, authenticator: Authenticator, policy: RetryPolicy) -> None:
        self._wire = wire
        self._authenticator = authenticator
        self._policy = policy

    @property
    def request_seconds(self) -> float:
        """How long one request with its answer may take, apart from its body."""
        return self._wire.settings.request_seconds

    def attempts(self) -> Attempts:
        """A new count of attempts."""
        return Attempts(self._policy)

    async def fetch(self, call: Call, *, limit: int = _MAX_ERROR_BYTES) -> Answer:
        """The answer to a request that may be made more than once, with a body of at most `limit` bytes."""
        attempts = self.attempts()
        while True:
            try:
                return await self.once(call, limit=limit)
            except Passing as fault:
                await attempts.pause(fault)

    async def once(self, call: Call, *, limit: int = _MAX_ERROR_BYTES) -> Answer:
        """The answer to one request; raises `Passing` for faults that may pass."""
        sending = call.body.seconds if call.body else 0.0
        seconds = 2 * self._wire.settings.request_seconds
        try:
            async with asyncio.timeout(None if sending is None else seconds + sending), self.open(call) as response:
                body = await read_limited(response, limit)
                return Answer(response.status, response.headers, body, response.url)
        except TimeoutError:
            raise Passing(RegistryUnreachable(f"The registry {call.repository.host} did not answer in time.")) from None

    @contextlib.asynccontextmanager
    async def open(self, call: Call) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer of success or of a status that the call accepts, its body not yet read."""
        header = await self._authenticator.header(call.repository, call.scopes)
        async with contextlib.AsyncExitStack() as stack:
            response = await stack.enter_async_context(self._exchange(call, header))
            if response.status == 401:
                challenges = parse_challenges(response.headers.getall("WWW-Authenticate", []))
                await stack.aclose()
                header = await self._authenticator.renew(call.repository, call.scopes, challenges, header)
                response = await stack.enter_async_context(self._exchange(call, header))
            if response.status >= 300 and response.status not in call.accept:
                raise await _fault(call, response)
            yield response

    def _exchange(
        self, call: Call, authorization: str | None
    ) -> contextlib.AbstractAsyncContextManager[aiohttp.ClientResponse]:
        base = self._wire.base(call.repository.api_host)
        url = call.url or base.joinpath("v2", *call.repository.path.split("/"), *call.path.split("/"))
        url = self._wire.check(url.extend_query(call.query) if call.query else url)
        headers = dict(call.headers)
        if authorization is not None and url.origin() == base.origin():
            headers["Authorization"] = authorization
        return self._wire.exchange(call.method, url, headers=headers, body=call.body)

    def follow(self, answer: Answer, header: str) -> URL | None:
        """The URL in a header of an answer."""
        text = answer.headers.get(header)
        return None if text is None else self._wire.target(answer.url, text)

    def next_page(self, answer: Answer, repository: Repository) -> URL | None:
        """Where a list goes on; a registry that leads elsewhere raises `RegistryBroken`."""
        links = re.findall(r'<([^<>]*)>\s*;\s*rel="?next"?', answer.headers.get("Link", ""))
        if not links:
            return None
        url = self._wire.target(answer.url, links[0])
        if url.origin() != self._wire.base(repository.api_host).origin():
            raise RegistryBroken(f"The registry {repository.host} goes on with its list at another host.")
        return url


async def _fault(call: Call, response: aiohttp.ClientResponse) -> Exception:
    """What a status other than success means."""
    try:
        body = (await read_limited(response, _MAX_ERROR_BYTES)).decode(errors="replace")
    except BinderyError:
        body = ""
    said, codes = _said(body)
    status, where = response.status, f"The registry {call.repository.host}"
    if status in (413, 507) or re.search(r"no space left|quota|insufficient storage", body, re.IGNORECASE):
        return RegistryFull(f"{where} has no space left: {said or status}")
    if status == 429 or "TOOMANYREQUESTS" in codes:
        return Passing(RegistryBusy(f"{where} gets too many requests."), _retry_after(response.headers))
    if status >= 500 or status == 408:
        error = RegistryUnreachable(f"{where} fails with {status}{': ' + said if said else ''}.")
        return Passing(error, _retry_after(response.headers))
    if status in (401, 403) or codes & {"UNAUTHORIZED", "DENIED"}:
        return RegistryRefused(f"{where} does not allow this in {call.repository.path}: {said or status}")
    if status == 404:
        return ImageNotFound(f"{where} has no such thing in {call.repository.path}: {said or status}")
    return RegistryBroken(f"{where} answers {call.method} with {status}{': ' + said if said else ''}.")


def _said(body: str) -> tuple[str, set[str]]:
    """The registry's own words, cut short and without control characters, and its error codes."""
    try:
        errors: Any = json.loads(body).get("errors")
        found = [item for item in errors if isinstance(item, dict)]
    except (ValueError, AttributeError, TypeError):
        found = []
    codes = {str(item.get("code")) for item in found}
    text = "; ".join(str(item.get("message") or item.get("code")) for item in found)
    return re.sub(r"[^\x20-\x7e]+", " ", text)[:_MAX_SAID], codes


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that `Retry-After` asks for, as a number or as a date."""
    value = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", value):
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError):
        return None
