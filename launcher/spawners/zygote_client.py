"""The service's end of `launcher/zygote.py`: one parent process of servers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bindery.errors import SessionFailed
from bindery.process import end_group
from bindery.program import PIPE, Program

#: Seconds that importing JupyterLab may take on a slow machine.
READY_SECONDS = 60.0
#: Seconds that a fork may take.
FORK_SECONDS = 10.0
#: Seconds between the end of its channel and killing it.
END_SECONDS = 5.0


class Child:
    """A server that was started; `ended` is done when it has ended, or its parent has."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.started: asyncio.Future[int] = loop.create_future()
        self.ended: asyncio.Future[int] = loop.create_future()

    @property
    def running(self) -> bool:
        return not self.ended.done()

    async def wait(self, timeout_seconds: float) -> bool:
        """Whether it ends within this time."""
        done, _ = await asyncio.wait([self.ended], timeout=timeout_seconds)
        return bool(done)


class Zygote:
    """A running parent.

    - When it ends, for whatever reason, all of its children count as ended, and the kernel has ended them.
    - `close` ends it and everything below it.
    """

    def __init__(self, process: Program) -> None:
        self._process = process
        self._children: dict[str, Child] = {}
        self._ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, argv: Sequence[str | Path], *, env: Mapping[str, str], log: Path) -> Zygote:
        """Start one and wait until it is warm; what it has to complain about goes to `log`."""
        with log.open("wb") as complaints:
            process = await Program.start(argv, env=env, cwd="/", stdin=PIPE, stderr=complaints)
        zygote = cls(process)
        try:
            async with asyncio.timeout(READY_SECONDS):
                await zygote._ready
        except BaseException as error:
            await zygote.close()
            if isinstance(error, TimeoutError):
                raise SessionFailed("The parent of notebook servers did not become ready.") from error
            raise
        return zygote

    @property
    def alive(self) -> bool:
        return not self._reader.done()

    @property
    def isolation(self) -> str:
        """How its children are kept apart: a value of `launcher.isolation.Isolation`."""
        return self._ready.result()

    async def start(
        self, name: str, *, argv: Sequence[str], environment: Mapping[str, str], folder: Path, tmp: Path | None
    ) -> Child:
        """Start a server; returns once it has been forked."""
        child = self._children[name] = Child()
        places = {"folder": str(folder), "tmp": None if tmp is None else str(tmp)}
        await self._send(op="start", name=name, argv=list(argv), environment=dict(environment), **places)
        try:
            async with asyncio.timeout(FORK_SECONDS):
                await asyncio.wait([child.started, child.ended], return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            raise SessionFailed("The notebook server could not be started in time.") from None
        return child

    async def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a server and what is in its process group."""
        await self._send(op="signal", name=name, number=int(number))

    async def close(self) -> None:
        """End it with all of its children."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                await self._process.wait()
        await asyncio.shield(end_group(self._process))
        await self._reader

    async def _send(self, **request: Any) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            await self._process.stdin.drain()
        except (ConnectionError, RuntimeError) as error:
            raise SessionFailed("The parent of notebook servers has ended.") from error

    async def _read(self) -> None:
        assert self._process.stdout is not None
        try:
            async for line in self._process.stdout:
                self._hear(json.loads(line))
        finally:
            self._mourn()

    def _hear(self, event: Mapping[str, Any]) -> None:
        if event["event"] == "ready":
            if not self._ready.done():
                self._ready.set_result(event["isolation"])
        elif event["event"] == "started":
            self._children[event["name"]].started.set_result(event["pid"])
        else:
            child = self._children.pop(event["name"], None)
            if child is not None and not child.ended.done():
                child.ended.set_result(event["code"])

    def _mourn(self) -> None:
        if not self._ready.done():
            self._ready.set_exception(SessionFailed("The parent of notebook servers ended while it was warming up."))
        for child in self._children.values():
            if not child.ended.done():
                child.ended.set_result(-signal.SIGKILL)
        self._children.clear()
