"""Sessions as processes of this machine: forked from a warm parent, or started plainly where forking does not fit."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import weakref
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from bindery.errors import SessionFailed
from bindery.sandbox import Sandbox
from launcher.spawners.assignment import Assignment, assign, command
from launcher.spawners.base import Address, Running, SessionRequest, Status
from launcher.spawners.copying import Copier, CopyTimeout
from launcher.spawners.folder import SessionFolder, SessionFolders, copy_failed
from launcher.spawners.leftovers import end_processes
from launcher.spawners.nursery import Nursery
from launcher.spawners.redaction import redacted
from launcher.spawners.zygote_client import Child, Zygote
from registry.directory import DirectoryStore, StoredImage
from registry.overlay import create_overlay

#: Seconds that copying a repository's files may take.
COPY_SECONDS = 300.0
#: Seconds between asking a server to end and killing it.
GRACE_SECONDS = 2.0


@dataclass(frozen=True)
class _Session:
    """A server of ours: who its parent is, and what must not be seen in its log."""

    parent: Zygote
    child: Child
    token: str


class ProcessSpawner:
    """The spawner of the process engine.

    - A session's files are `<data_dir>/sessions/<name>`; it listens on a Unix socket in there.
    - Servers are forked from a parent that has imported JupyterLab. Images whose environment runs the server too, start
      scripts, other servers than the current one and systems that cannot fork safely get a plain start.
    - In the sandbox, where there is one, a session sees no data but images, environments and its own folder. Forked
      siblings are kept apart by namespaces of their own where the kernel lets us: see `launcher/isolation.py`.
    - When the service ends, however that happens, no process of a session is left; its folder is, and `list` names it.
    """

    def __init__(
        self,
        store: DirectoryStore,
        *,
        server: Callable[[], Awaitable[Path]],
        sandbox: Sandbox,
        allow_origins: Sequence[str] = (),
        isolate: bool = True,
    ) -> None:
        self._store = store
        self._sandbox = sandbox
        self._allow_origins = allow_origins
        self._folders = SessionFolders(store.root)
        self._copier = Copier()
        self._sessions: dict[str, _Session] = {}
        self._starting: set[str] = set()
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self._nursery = Nursery(self._folders, store.root, server=server, sandbox=sandbox, isolate=isolate)

    async def open(self) -> Self:
        """Begin to warm up, in the background."""
        await asyncio.to_thread(self._folders.open)
        self._nursery.open()
        return self

    async def close(self) -> None:
        """End all sessions; their folders stay until somebody stops them."""
        await self._nursery.close()
        await asyncio.to_thread(end_processes, *self._sessions)
        await asyncio.to_thread(self._folders.close)
        self._copier.close()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self, request: SessionRequest) -> None:
        """Ask for a server; its files are complete when this returns."""
        folder = self._folders.of(request.name)
        if folder is None:
            raise SessionFailed(f"No session can be called {request.name!r}.", hint="")
        async with self._lock(request.name):
            if self._runs(request.name):
                return
            await self._end(request.name, folder)
            image = await self._image(request.image)
            self._starting.add(request.name)
            try:
                await self._launch(request, image, folder)
            except BaseException as error:
                await asyncio.shield(self._kill(request.name))
                if isinstance(error, CopyTimeout):
                    raise SessionFailed("Copying the repository's files took too long.") from error
                if isinstance(error, OSError):
                    raise copy_failed(str(error)) from error
                raise
            finally:
                self._starting.discard(request.name)

    async def poll(self, name: str) -> Status:
        """Whether the server's process is there and runs; a folder alone is what an ended one left."""
        if self._runs(name) or name in self._starting:
            return Status(Running.RUNNING)
        folder = self._folders.of(name)
        left = folder is not None and await asyncio.to_thread(folder.path.is_dir)
        return Status(Running.EXITED if left else Running.MISSING)

    async def address(self, name: str) -> Address | None:
        """Where the server listens; known as soon as it was asked for."""
        folder = self._folders.of(name)
        return Address(socket=str(folder.socket)) if folder is not None and name in self._sessions else None

    async def stop(self, name: str) -> None:
        """End the server and all that carries its mark, and remove its folder."""
        folder = self._folders.of(name)
        if folder is not None:
            async with self._lock(name):
                await self._end(name, folder)

    async def list(self) -> list[str]:
        """Names of all sessions that have a process or a folder, whoever started them."""
        return sorted({*self._sessions, *await asyncio.to_thread(self._folders.names)})

    async def logs(self, name: str, lines: int = 100) -> str:
        """The last lines the server wrote, without its token."""
        folder = self._folders.of(name)
        text = "" if folder is None else await asyncio.to_thread(folder.tail, lines)
        session = self._sessions.get(name)
        return redacted(text, session.token if session is not None else "")

    def _lock(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())

    def _runs(self, name: str) -> bool:
        session = self._sessions.get(name)
        return session is not None and session.child.running

    async def _image(self, reference: str) -> StoredImage:
        try:
            image = await asyncio.to_thread(self._store.find, reference)
        except ValueError:
            image = None
        if image is None:
            raise SessionFailed(f"The image {reference} is not here any more.", hint="Launch again to build it anew.")
        return image

    async def _launch(self, request: SessionRequest, image: StoredImage, folder: SessionFolder) -> None:
        assignment = await asyncio.to_thread(self._prepare, request, image, folder)
        plainly = image.joined or image.start is not None
        parent = None if plainly else await self._nursery.warm(image.server)
        filling = self._fill(folder, image, assignment)
        if parent is not None:
            forking = self._begin(parent, request, folder, assignment, assignment.flags)
            await _both(filling, forking)
            return
        await filling
        parent = await self._nursery.plain()
        argv = await asyncio.to_thread(self._boxed, image, folder, assignment)
        await self._begin(parent, request, folder, assignment, argv)

    def _prepare(self, request: SessionRequest, image: StoredImage, folder: SessionFolder) -> Assignment:
        folder.make()
        return assign(request, image, folder, allow_origins=self._allow_origins)

    def _boxed(self, image: StoredImage, folder: SessionFolder, assignment: Assignment) -> Sequence[str]:
        """The command line of a plain start."""
        return self._sandbox.wrap(
            command(assignment, image, folder),
            writable=[folder.path],
            readable=[*assignment.lower, image.server, *self._folders.ways],
        )

    async def _fill(self, folder: SessionFolder, image: StoredImage, assignment: Assignment) -> None:
        moved = {image.content: folder.repo}
        overlaying = asyncio.to_thread(create_overlay, folder.overlay, assignment.lower, moved=moved)
        await _both(self._copier.copy(image.content, folder.repo, seconds=COPY_SECONDS), overlaying)

    async def _begin(
        self,
        parent: Zygote,
        request: SessionRequest,
        folder: SessionFolder,
        assignment: Assignment,
        argv: Sequence[str],
    ) -> None:
        child = await parent.start(
            request.name,
            argv=argv,
            environment=assignment.environment,
            folder=folder.path,
            tmp=folder.temporary if folder.private_tmp else None,
        )
        self._sessions[request.name] = _Session(parent, child, request.token)

    async def _end(self, name: str, folder: SessionFolder) -> None:
        if name in self._sessions or await asyncio.to_thread(folder.path.exists):
            await self._kill(name)
            try:
                await asyncio.to_thread(folder.remove)
            except OSError as error:
                raise SessionFailed("The session's files could not be removed.", hint=str(error)) from error
        self._sessions.pop(name, None)

    async def _kill(self, name: str) -> None:
        session = self._sessions.get(name)
        if session is not None and session.child.running:
            with contextlib.suppress(SessionFailed):
                await session.parent.signal(name, signal.SIGTERM)
                if not await session.child.wait(GRACE_SECONDS):
                    await session.parent.signal(name, signal.SIGKILL)
                    await session.child.wait(GRACE_SECONDS)
        await asyncio.to_thread(end_processes, name)


async def _both(first: Awaitable[object], second: Awaitable[object]) -> None:
    """Wait for two things, to the end of both even if one fails."""
    for result in await asyncio.gather(first, second, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
