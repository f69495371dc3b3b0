"""Server-sent events on the wire (HTML Living Standard, section 9.2): one JSON object a `data:` line, and an `id:`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from starlette.types import Receive, Scope, Send

#: Seconds of silence after which a comment keeps the connection open.
KEEPALIVE_SECONDS = 25.0

#: Sends a chunk to the client; waits while the client is slow.
Emit = Callable[[bytes], Awaitable[None]]


def frame(event_id: str, data: bytes) -> bytes:
    """One event. `data` is one line of JSON."""
    return b"id: " + event_id.encode() + b"\ndata: " + data + b"\n\n"


class EventStream:
    """An ASGI response: runs `produce`, which emits chunks, with keepalives in its silences.

    When the client leaves, `produce` is cancelled.
    """

    def __init__(self, produce: Callable[[Emit], Awaitable[None]], headers: Mapping[str, str]) -> None:
        self._produce = produce
        self._headers = {"content-type": "text/event-stream", "cache-control": "no-cache", **headers}
        self._silent_since = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def emit(chunk: bytes) -> None:
            self._silent_since = asyncio.get_running_loop().time()
            await send({"type": "http.response.body", "body": chunk, "more_body": True})

        headers = [(name.encode(), value.encode()) for name, value in self._headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        producing = asyncio.ensure_future(self._produce(emit))
        others = [asyncio.create_task(_left(receive)), asyncio.create_task(self._keep_alive(emit))]
        try:
            await asyncio.wait([producing, *others], return_when=asyncio.FIRST_COMPLETED)
            if producing.done():
                await producing
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            for task in (producing, *others):
                task.cancel()
            await asyncio.gather(producing, *others, return_exceptions=True)

    async def _keep_alive(self, emit: Emit) -> None:
        loop = asyncio.get_running_loop()
        self._silent_since = loop.time()
        while True:
            await asyncio.sleep(self._silent_since + KEEPALIVE_SECONDS - loop.time())
            if loop.time() - self._silent_since >= KEEPALIVE_SECONDS:
                await emit(b":keepalive\n\n")


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
