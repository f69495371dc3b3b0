"""The parents of servers: a warm one that forks them, and a plain one that executes programs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from bindery.errors import BinderyError, SessionFailed
from bindery.sandbox import Sandbox, inherited
from launcher.spawners.folder import SessionFolders
from launcher.spawners.zygote_client import Zygote

PROGRAM = Path(__file__).resolve().parent.parent / "zygote.py"
#: Only there is forking a process that has imported so much known to be safe.
CAN_FORK = sys.platform == "linux"
#: How much of a parent's last words is shown.
HINT_CHARACTERS = 500

_log = structlog.get_logger(__name__)


class Nursery:
    """Parents that are there when they are needed: one that has ended is replaced at the next request.

    `server` gives the current server environment, once there is one; `data_dir` holds all environments and images. What
    else sessions have to see, such as the Pythons that environments are made with, the sandbox keeps visible.
    """

    def __init__(
        self,
        folders: SessionFolders,
        data_dir: Path,
        *,
        server: Callable[[], Awaitable[Path]],
        sandbox: Sandbox,
        isolate: bool,
    ) -> None:
        self._folders = folders
        self._shared = tuple(data_dir / name for name in ("environments", "images", "servers"))
        self._server = server
        self._sandbox = sandbox
        self._isolate = isolate
        self._warming: asyncio.Task[tuple[Path, Zygote]] | None = None
        self._plain: Zygote | None = None
        self._plain_lock = asyncio.Lock()

    def open(self) -> None:
        """Begin to warm up, in the background."""
        if CAN_FORK:
            self._warming = asyncio.create_task(self._warm_up())

    async def close(self) -> None:
        """End the parents and with them their children."""
        if self._warming is not None:
            self._warming.cancel()
            await _close(self._warming)
        if self._plain is not None:
            await self._plain.close()

    async def warm(self, server: Path) -> Zygote | None:
        """The parent that has imported this server; None if there is none, and a plain start has to do."""
        if self._warming is not None and _failed(self._warming):
            ended = self._warming
            self.open()
            await _close(ended)
        if self._warming is None:
            return None
        try:
            warmed, zygote = await asyncio.shield(self._warming)
        except (BinderyError, OSError) as error:
            _log.warning("zygote.failed", reason=str(error), said=getattr(error, "hint", ""))
            return None
        return zygote if warmed == server and zygote.alive else None

    async def plain(self) -> Zygote:
        """The parent that executes programs."""
        async with self._plain_lock:
            if self._plain is not None and not self._plain.alive:
                await self._plain.close()
                self._plain = None
            if self._plain is None:
                walls = not self._sandbox.active and self._isolate
                argv = [sys.executable, "-I", str(PROGRAM), *(self._walls() if walls else ())]
                self._plain = await self._begin(argv, "plain")
            return self._plain

    async def _warm_up(self) -> tuple[Path, Zygote]:
        server = await self._server()
        for folder in self._shared:
            folder.mkdir(parents=True, exist_ok=True)
        program = [str(server / "bin" / "python"), "-I", str(PROGRAM), "--warm"]
        argv = self._sandbox.wrap(
            [*program, *(self._walls() if self._isolate else ())],
            writable=[self._folders.path],
            readable=[*self._shared, PROGRAM.parent, *self._folders.ways],
        )
        zygote = await self._begin(_nestable(argv) if self._sandbox.active else argv, "warm")
        _log.info("zygote.warm", isolation=zygote.isolation, sandbox=self._sandbox.active)
        return server, zygote

    async def _begin(self, argv: list[str], name: str) -> Zygote:
        log = self._folders.path / f".{name}.log"
        try:
            return await Zygote.open(argv, env=inherited(os.environ), log=log)
        except SessionFailed as error:
            said = await asyncio.to_thread(log.read_text, errors="replace")
            raise SessionFailed(error.message, hint=said.strip()[-HINT_CHARACTERS:]) from error

    def _walls(self) -> tuple[str, str]:
        return "--sessions", str(self._folders.path)


def _nestable(argv: list[str]) -> list[str]:
    """Let root's sandbox, as everybody's, hold further user namespaces: one for each session."""
    root = ("--unshare-user", "--cap-add", "CAP_SETFCAP") if os.getuid() == 0 else ()
    end = argv.index("--")
    return [*argv[:end], *root, *argv[end:]]


def _failed(task: asyncio.Task[tuple[Path, Zygote]]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None or not task.result()[1].alive)


async def _close(task: asyncio.Task[tuple[Path, Zygote]]) -> None:
    with contextlib.suppress(asyncio.CancelledError, BinderyError, OSError):
        _, zygote = await task
        await zygote.close()
