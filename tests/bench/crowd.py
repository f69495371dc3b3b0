"""Many viewers of one build, in a process of their own: `python -m tests.bench.crowd URL VIEWERS`.

The build's log says when each line was printed (`tick <seconds since 1970>`). Each viewer reads the raw bytes of its
connection; nothing but those lines is looked at, so that thousands of viewers cost little. Prints a JSON object when
everybody has seen a line, one when the first stream ends, and one at the end.
"""

from __future__ import annotations

import asyncio
import json
import re
import resource
import sys
import time
from array import array
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import uvloop

LIMIT_SECONDS = 150.0
_TICK = re.compile(rb"tick (\d+\.\d+)")


@dataclass
class Crowd:
    """What all viewers saw; times are seconds since 1970."""

    size: int
    head: bytes
    joined_at: float = 0.0
    first_seconds: list[float] = field(default_factory=list)
    log_seconds: list[float] = field(default_factory=list)
    lags: array[float] = field(default_factory=lambda: array("d"))
    lines: list[int] = field(default_factory=list)
    ended_at: list[float] = field(default_factory=list)
    busy: float = 0.0
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def saw_log(self, seconds: float) -> None:
        self.log_seconds.append(seconds)
        if len(self.log_seconds) == self.size:
            self.joined_at = time.time()
            self.busy = time.process_time()
            say(joined=True)

    def left(self, lines: int) -> None:
        self.lines.append(lines)
        if len(self.lines) == self.size:
            self.over.set()

    def ending(self) -> None:
        if not self.ended_at:
            self.busy = (time.process_time() - self.busy) / (time.time() - self.joined_at)
            say(ending=True)
        self.ended_at.append(time.time())


class Viewer(asyncio.Protocol):
    """One who looks on from the click to the end of the stream."""

    def __init__(self, crowd: Crowd) -> None:
        self.crowd = crowd
        self.lines = 0
        self.rest = b""
        self.got_first = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.clicked = time.time()
        transport.write(self.crowd.head)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        now = time.time()
        data = self.rest + data
        end = data.rfind(b"\n\n") + 2
        whole, self.rest = (data[:end], data[end:]) if end > 1 else (b"", data)
        if not self.got_first and b"\ndata: " in whole:
            self.got_first = True
            self.crowd.first_seconds.append(now - self.clicked)
        self.take([float(tick) for tick in _TICK.findall(whole)], now)
        if b'"phase": "failed"' in whole:
            self.crowd.ending()
            self.transport.close()

    def take(self, ticks: list[float], now: float) -> None:
        if ticks and not self.lines:
            self.crowd.saw_log(now - self.clicked)
        self.lines += len(ticks)
        joined_at = self.crowd.joined_at
        # Lines printed before everybody was there wait for the crowd at the door: those seconds are counted apart.
        self.crowd.lags.extend(now - tick for tick in ticks if joined_at and tick > joined_at)

    def connection_lost(self, exc: Exception | None) -> None:
        self.crowd.left(self.lines)


def say(**found: object) -> None:
    """Tell the bench."""
    print(json.dumps(found), flush=True)


async def look_on(url: str, size: int) -> None:
    """Let the crowd in, and tell what it saw."""
    parts = urlsplit(url)
    head = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept: text/event-stream\r\n\r\n"
    crowd = Crowd(size, head.encode())
    loop = asyncio.get_running_loop()
    assert parts.hostname
    assert parts.port
    for _ in range(size):
        await loop.create_connection(lambda: Viewer(crowd), parts.hostname, parts.port)
    async with asyncio.timeout(LIMIT_SECONDS):
        await crowd.over.wait()
    say(
        first=crowd.first_seconds,
        log=crowd.log_seconds,
        lags=list(crowd.lags),
        lines=sorted(set(crowd.lines)),
        ended=len(crowd.ended_at),
        end_seconds=max(crowd.ended_at) - min(crowd.ended_at) if crowd.ended_at else 0.0,
        busy=crowd.busy,
    )


if __name__ == "__main__":
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    uvloop.run(look_on(sys.argv[1], int(sys.argv[2])))
