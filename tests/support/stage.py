"""A small real server that shows the pages and plays the event streams that a test writes."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse

from tests.support.link_vectors import PROVIDERS
from web import pages
from web.pages import Ended, Pages

_HANG_UP = None


@dataclass
class Stage:
    """What the test plays to the next visitors of `/build`. `visits` has the `Last-Event-ID` of each."""

    url: str
    visits: list[str] = field(default_factory=list)
    over: bool = False
    #: How many read the stream now.
    viewers: int = 0
    _lines: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)
    _sent: int = 0

    def play(self, phase: str, message: str, **fields: Any) -> None:
        """Send one event."""
        self._sent += 1
        data = json.dumps({"phase": phase, "message": message, **fields})
        self._lines.put_nowait(f"id: {self._sent}\nretry: 20\ndata: {data}\n\n".encode())

    def ready(self, **fields: Any) -> None:
        """Send the last event of a launch that succeeds."""
        self.play("ready", "server running\n", **{"url": f"{self.url}user/x/", "token": "T0K", **fields})

    def hang_up(self) -> None:
        """Break the connection after what was played."""
        self._lines.put_nowait(_HANG_UP)

    def reset(self) -> None:
        """Forget everything, for the next test."""
        self.visits, self.over, self._lines, self._sent = [], False, asyncio.Queue(), 0

    async def stream(self) -> AsyncIterator[bytes]:
        lines = self._lines
        self.viewers += 1
        try:
            yield b":here\n\n"
            while (line := await lines.get()) is not _HANG_UP:
                yield line
        finally:
            self.viewers -= 1


@asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    """A stage on a free port of this machine."""
    listener = socket.create_server(("127.0.0.1", 0))
    opened = Stage(f"http://127.0.0.1:{listener.getsockname()[1]}/")
    config = uvicorn.Config(_app(opened), log_level="warning", timeout_graceful_shutdown=1, lifespan="off")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield opened
    finally:
        server.should_exit = True
        opened.hang_up()
        await serving
        listener.close()


def _app(opened: Stage) -> FastAPI:
    known = Pages(PROVIDERS, version="1.2.3", notice="One computer only.", homes={"gh": "https://github.com"})
    app = FastAPI()
    app.include_router(pages.router(known))
    app.add_exception_handler(404, lambda request, error: pages.not_found(known, request))

    @app.get("/build/{provider}/{spec:path}")
    async def build(request: Request) -> Response:
        opened.visits.append(request.headers.get("last-event-id", ""))
        if opened.over:
            return Response(status_code=204)
        return StreamingResponse(opened.stream(), media_type="text/event-stream")

    @app.get("/user/x/{path:path}")
    async def session(request: Request) -> Response:
        return HTMLResponse("<!doctype html><title>session</title>")

    @app.get("/gone")
    async def gone(request: Request) -> Response:
        return pages.gone_page(known, request, Ended("v2/gh/o/r/HEAD"))

    return app
