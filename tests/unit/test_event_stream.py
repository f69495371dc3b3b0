"""What is on the wire of an event stream beside its events."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from web import event_stream
from web.event_stream import Emit, EventStream, frame


async def _never() -> Any:
    await asyncio.Event().wait()


async def test_silence_is_filled_with_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    assert event_stream.KEEPALIVE_SECONDS == 25
    monkeypatch.setattr(event_stream, "KEEPALIVE_SECONDS", 0.01)
    sent: list[dict[str, Any]] = []
    quiet = asyncio.Event()

    async def send(message: Any) -> None:
        sent.append(message)
        if message.get("body") == b":keepalive\n\n":
            quiet.set()

    async def produce(emit: Emit) -> None:
        await quiet.wait()
        await emit(frame("end", b"{}"))

    async with asyncio.timeout(5):
        await EventStream(produce, {"x-a": "b"})({"type": "http"}, _never, send)
    assert sent[0]["status"] == 200
    assert dict(sent[0]["headers"])[b"content-type"] == b"text/event-stream"
    assert [message["body"] for message in sent[1:]][-2:] == [b"id: end\ndata: {}\n\n", b""]
