"""Where the bench takes place: a Git server, a data directory, a service, and one who clicks on links."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from tests.support.git_server import GitServer, Repository
from tests.support.service import Service, environment
from tests.support.wait import until

LIMIT_SECONDS = 900.0


@dataclass(frozen=True)
class Seen:
    """One event of a stream and the seconds from the click to its arrival."""

    seconds: float
    event: dict[str, Any]


@dataclass(frozen=True)
class Stream:
    """All events of one click."""

    seen: list[Seen]

    def until(self, phase: str, text: str = "") -> float:
        """Seconds to the first event of the phase whose message has the text."""
        for item in self.seen:
            if item.event.get("phase") == phase and text in item.event["message"]:
                return item.seconds
        raise SystemExit(f"no {phase} {text!r} in:\n" + "".join(item.event["message"] for item in self.seen))


@dataclass(frozen=True)
class Meter:
    """The service's use of the machine at one moment."""

    at: float
    cpu: float
    resident: float

    @classmethod
    def read(cls, process: psutil.Process) -> Meter:
        return cls(
            asyncio.get_running_loop().time(), sum(process.cpu_times()[:2]), process.memory_info().rss / (1 << 20)
        )


@dataclass
class Place:
    """The Git server and the folder for everything; `service` runs while a `running` block does."""

    git: GitServer
    folder: Path
    service: Service = field(init=False)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        # No limit of sessions: a thousand viewers of one build want a thousand.
        settings = {"BINDERY_ENGINE": "process", "BINDERY_SESSION__MAX_TOTAL": "0"}
        self.service = Service(self.folder / "data", environment(self.git, **settings))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Service]:
        """The service, started, with its warm parent ready; everything of it ends with the block."""
        offset = self.service.log.stat().st_size if self.service.log.exists() else 0
        await self.service.start()
        try:
            await until(lambda: b"zygote.warm" in self.service.log.read_bytes()[offset:], 120, "the parent is warm")
            yield self.service
        finally:
            await self.service.stop()

    def repository(self) -> tuple[Repository, str]:
        """A new repository, and its name on the server."""
        name = f"o/bench-{next(self._numbers)}"
        return self.git.repository(name), name

    async def click(self, link: str) -> Stream:
        """Follow a link's stream to its end."""
        seen: list[Seen] = []
        timeout = aiohttp.ClientTimeout(total=LIMIT_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout, read_bufsize=1 << 20) as client:
            clicked = time.perf_counter()
            headers = {"Accept": "text/event-stream"}
            async with client.get(f"{self.service.url}build/{link}", headers=headers) as response:
                async for line in response.content:
                    if line.startswith(b"data: "):
                        seen.append(Seen(time.perf_counter() - clicked, json.loads(line[6:])))
        return Stream(seen)

    def last_words(self) -> str:
        """The end of the service's log."""
        return self.service.log.read_text(errors="replace")[-1500:]

    @property
    def process(self) -> psutil.Process:
        """The service's own process."""
        assert self.service.process is not None
        return psutil.Process(self.service.process.pid)

    @property
    def server_python(self) -> Path:
        """The Python of the server environment that the service made: it has JupyterLab, and compiled files."""
        found = sorted((self.folder / "data" / "servers").glob("*/bin/python"))
        if not found:
            raise SystemExit("the service has made no server environment")
        return found[0]


def plain_environment() -> dict[str, str]:
    """The machine's environment; like the service, a baseline may write and use compiled files."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


async def timed(*argv: object, using: Mapping[str, str] | None = None) -> float:
    """Seconds that a program takes, with the environment `using`; it has to succeed."""
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *map(str, argv),
        env=plain_environment() if using is None else using,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(LIMIT_SECONDS):
        _, said = await process.communicate()
    if process.returncode:
        raise SystemExit(f"{argv[0]} failed: {said.decode()[-1000:]}")
    return time.perf_counter() - began
