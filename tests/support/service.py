"""The real service, started as a user starts it, and a visitor who reads its streams."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from yarl import URL

from tests.support.git_server import GitServer

START_SECONDS = 60.0
STOP_SECONDS = 30.0
_READY = re.compile(rb"is at (http://\S+)")


@dataclass
class Service:
    """One `bindery serve`; `url` ends with a slash."""

    data_dir: Path
    environment: Mapping[str, str]
    url: str = ""
    process: asyncio.subprocess.Process | None = None
    log: Path = field(init=False)

    def __post_init__(self) -> None:
        self.log = self.data_dir.with_suffix(".log")

    async def start(self, *options: str) -> None:
        """Start it and wait until it says that it listens."""
        argv = [sys.executable, "-m", "bindery", "serve", "--port", "0", "--data-dir", str(self.data_dir), *options]
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *argv, env=dict(self.environment), stdout=asyncio.subprocess.PIPE, stderr=log
            )
        assert self.process.stdout is not None
        async with asyncio.timeout(START_SECONDS):
            while line := await self.process.stdout.readline():
                if found := _READY.search(re.sub(rb"\x1b\[[0-9;]*m", b"", line)):
                    self.url = found[1].decode()
                    return
        raise AssertionError(f"it did not start: {self.log.read_text()[-2000:]}")

    async def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """End it, as Ctrl-C does or harder; returns its exit code, 0 when it never ran."""
        if self.process is None:
            return 0
        if self.process.returncode is None:
            self.process.send_signal(number)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                return await self.process.wait()
        except TimeoutError:
            raise AssertionError(f"it did not stop: {self.log.read_text()[-4000:]}") from None

    def stream(self, link: str, last_event_id: str = "") -> Visit:
        """A visitor's event stream of `<provider>/<spec>`."""
        return Visit(f"{self.url}build/{link}", last_event_id)


@dataclass
class Visit:
    """One request for an event stream, and what came of it."""

    url: str
    last_event_id: str = ""
    ids: list[str] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    status: int = 0

    async def read(self, until_text: str = "", seconds: float = 300.0) -> Visit:
        """Read to the end of the stream, or to the first event whose message has the text."""
        headers = {"Accept": "text/event-stream"} | (
            {"Last-Event-ID": self.last_event_id} if self.last_event_id else {}
        )
        async with (
            asyncio.timeout(seconds),
            aiohttp.ClientSession(read_bufsize=1 << 20) as client,
            client.get(URL(self.url, encoded=True), headers=headers) as response,
        ):
            self.status = response.status
            async for line in response.content:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name == "id":
                    self.ids.append(value)
                elif name == "data":
                    self.events.append(json.loads(value))
                    if until_text and until_text in self.events[-1]["message"]:
                        break
        return self

    @property
    def last(self) -> dict[str, Any]:
        """The last event."""
        return self.events[-1]

    @property
    def text(self) -> str:
        """All messages."""
        return "".join(event["message"] for event in self.events)

    @property
    def phases(self) -> list[str]:
        """Each phase once, in order."""
        found = [event.get("phase", "") for event in self.events]
        return [phase for index, phase in enumerate(found) if index == 0 or phase != found[index - 1]]


def processes_of(data_dir: Path) -> list[psutil.Process]:
    """Everything that runs on a data directory."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if process.info["cmdline"] and any(str(data_dir) in word for word in process.info["cmdline"]):
            found.append(process)
    return found


def sessions_that_run(data_dir: Path) -> int:
    """How many sessions the rows of a data directory take to be running."""
    with contextlib.closing(sqlite3.connect(data_dir / "bindery.db")) as database:
        live = "SELECT count(*) FROM sessions WHERE state IN ('starting', 'ready', 'stopping')"
        count: int = database.execute(live).fetchone()[0]
    return count


def environment(git: GitServer | None = None, /, **more: str) -> dict[str, str]:
    """The machine's own environment, without what the tests' caller has set for Bindery."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("BINDERY_")}
    own.pop("PYTHONDONTWRITEBYTECODE", None)
    own |= {"BINDERY_ALLOW_PRIVATE_REPOSITORY_HOSTS": "true", "NO_COLOR": "1"}
    if git is not None:
        own["BINDERY_PROVIDERS__GH__URL"] = git.url
    return own | more


@contextlib.asynccontextmanager
async def serving(data_dir: Path, git: GitServer, *options: str, **more: str) -> AsyncIterator[Service]:
    """A service while the block runs; afterwards it is stopped as Ctrl-C does."""
    service = Service(data_dir, environment(git, **more))
    await service.start(*options)
    try:
        yield service
    finally:
        await service.stop()
