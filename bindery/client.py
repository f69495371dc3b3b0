"""A client of a running service: follows the event stream of a launch, as EventSource does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

from bindery.errors import BinderyError, HostUnreachable

#: How often a broken stream is taken up again, and the seconds before each time.
RETRIES = 10
PAUSE_SECONDS = 1.0

TERMINAL = frozenset({"ready", "failed"})


@dataclass(frozen=True)
class Service:
    """Where a service is; the token is the operator's, if we have it."""

    url: str
    token: str = ""

    @property
    def headers(self) -> dict[str, str]:
        """What every request carries."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


class Refused(BinderyError):
    """The service said no; the instance carries its error's own code."""

    code = "refused"

    @classmethod
    def of(cls, code: str, message: str, hint: str) -> Refused:
        """The error that a service told of."""
        error = cls(message.strip(), hint=hint)
        error.code = code  # type: ignore[misc]
        return error


async def healthy(service: Service) -> bool:
    """Whether something answers there as a service in good health does."""
    timeout = aiohttp.ClientTimeout(total=5)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(f"{service.url}health") as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False


async def post(service: Service, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Ask the service's API for something new. Raises the `Refused` that it answers, or `HostUnreachable`."""
    timeout = aiohttp.ClientTimeout(total=60)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, headers=service.headers) as session,
            session.post(f"{service.url}api/v1/{path}", json=body) as response,
        ):
            answer: dict[str, Any] = await response.json(content_type=None)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise _away(service) from error
    if response.status >= 400:
        raise Refused.of(str(answer.get("code")), str(answer.get("title")), str(answer.get("hint", "")))
    return answer


def launch(service: Service, provider: str, spec: str) -> AsyncGenerator[dict[str, Any], None]:
    """The events of a launch; see `follow`."""
    return follow(service, f"{service.url}build/{provider}/{spec}")


async def follow(service: Service, url: str) -> AsyncGenerator[dict[str, Any], None]:
    """The events of a stream up to its terminal one; one that breaks is resumed where it broke.

    Raises `HostUnreachable` when the service cannot be reached any more.
    """
    last_id = ""
    for _ in range(RETRIES):
        try:
            async for event_id, event in _events(service, url, last_id):
                last_id = event_id or last_id
                yield event
                if event.get("phase") in TERMINAL:
                    return
        except (aiohttp.ClientError, TimeoutError, OSError):
            pass
        await asyncio.sleep(PAUSE_SECONDS)
    raise _away(service)


def _away(service: Service) -> HostUnreachable:
    message = f"The service at {service.url} does not answer any more."
    return HostUnreachable(message, hint="Start it with: bindery serve")


async def _events(service: Service, url: str, last_id: str) -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
    headers = {**service.headers, "Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
    timeout = aiohttp.ClientTimeout(total=None, sock_read=60)
    # The spec is percent-encoded already, and must stay as it is.
    address = URL(url, encoded=True)
    async with (
        aiohttp.ClientSession(timeout=timeout, read_bufsize=1 << 20) as session,
        session.get(address, headers=headers) as response,
    ):
        event_id = ""
        async for line in response.content:
            field, _, value = line.decode().rstrip("\n").partition(": ")
            if field == "id":
                event_id = value
            elif field == "data":
                yield event_id, json.loads(value)
