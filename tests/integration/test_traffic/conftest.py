from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

import pytest
import uvloop
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from tests.support.traffic import Handler, Known, serving, session_server, traffic_of
from web.traffic import Traffic


class Serve(Protocol):
    """Starts a service whose session `s` is served by the handler; gives port, routes and traffic."""

    def __call__(
        self, handler: Handler, *, keep_alive_seconds: int = 5, **options: Any
    ) -> AbstractAsyncContextManager[tuple[int, Known, Traffic]]: ...


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


class Service:
    """A small service with a page, an upload and an event stream."""

    def __init__(self) -> None:
        self.streams = 0
        self.app = FastAPI()
        self.app.get("/health")(self.health)
        self.app.post("/upload")(self.upload)
        self.app.get("/events")(self.events)

    async def health(self) -> dict[str, bool]:
        return {"ok": True}

    async def upload(self, request: Request) -> dict[str, int]:
        return {"bytes": sum([len(part) async for part in request.stream()])}

    async def events(self) -> StreamingResponse:
        async def stream() -> AsyncIterator[bytes]:
            self.streams += 1
            try:
                yield b"data: hello\n\n"
                await asyncio.Event().wait()
            finally:
                self.streams -= 1

        return StreamingResponse(stream(), media_type="text/event-stream")


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def serve(tmp_path: Path, service: Service) -> Serve:
    @contextlib.asynccontextmanager
    async def start(
        handler: Handler, *, keep_alive_seconds: int = 5, **options: Any
    ) -> AsyncIterator[tuple[int, Known, Traffic]]:
        known = Known()
        async with session_server(tmp_path, handler) as route:
            known.fast["s"] = route
            traffic = traffic_of(known, **options)
            async with serving(service.app, traffic, timeout_keep_alive=keep_alive_seconds) as port:
                yield port, known, traffic
        assert not any(known.open.values())

    return start
