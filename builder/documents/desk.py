"""The desk: while a build runs, it renders what visitors wish to read of its commit."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import structlog

from bindery.process import ProcessTimeout, run
from builder.documents import source
from builder.tree import Tree
from db.builds import Build
from db.documents import DocumentStore, topic
from db.events import Event
from db.wakeups import Wakeups

log = structlog.get_logger(__name__)

#: How long, in seconds, one document may take, and how often wishes are looked for that nobody told of.
TIMEOUT_SECONDS = 20.0
POLL_SECONDS = 2.0
#: Documents that one build renders at most.
MOST = 20
#: How long, in seconds, the commit's files stay after a build for what is being rendered.
LINGER_SECONDS = 5.0

#: Providers at whose `ref_url` a file's path can be appended.
_FORGES = frozenset({"gh", "gl", "codeberg", "bitbucket", "hf"})


@dataclass(frozen=True)
class Desk:
    """Renders the readme of a commit, and further files as they are asked for.

    What goes wrong here costs a visitor something to read, never the build. `private` names providers whose
    repositories not everybody may read; their files are never shown, nor are those of the operator's own disk.
    """

    store: DocumentStore
    wakeups: Wakeups
    private: frozenset[str] = frozenset()
    clock: Callable[[], float] = time.time

    def readable(self, provider: str, repo_url: str) -> bool:
        """Whether a repository's files may be shown."""
        return provider not in self.private and not repo_url.startswith("file:")

    @contextlib.asynccontextmanager
    async def reading(self, build: Build, say: Callable[[Event], None]) -> AsyncIterator[Reading]:
        """A place to read for those who wait for a build; `say` takes an event about each document that is there."""
        opened = Reading(self, build, say)
        try:
            yield opened
        finally:
            await opened.close()

    async def rendered(self, build: Build, tree: Tree, path: str) -> str:
        """The HTML of one file; empty for what cannot be shown."""
        link_base = build.ref_url.rstrip("/") if build.provider in _FORGES else ""
        found = await asyncio.to_thread(source.read, tree, path, link_base)
        if found is None:
            return ""
        # Isolated: no module may come from the environment.
        argv = [sys.executable, "-I", "-m", "builder.documents.program"]
        env = {"PATH": os.defpath, "LANG": "C.UTF-8"}
        try:
            ended = await run(argv, env=env, timeout_seconds=TIMEOUT_SECONDS, input_bytes=found.to_json())
        except ProcessTimeout:
            return ""
        if ended.returncode != 0:
            log.warning("documents.not_rendered", build=build.id, path=path, code=ended.returncode)
            return ""
        return ended.stdout.decode(errors="replace")


class Reading:
    """What is rendered of one build's commit, from `begin` on until it is closed."""

    def __init__(self, desk: Desk, build: Build, say: Callable[[Event], None]) -> None:
        self._desk = desk
        self._build = build
        self._say: Callable[[Event], None] | None = say
        self._done = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def begin(self, tree: Tree) -> None:
        """Render the readme, and whatever else is wished for."""
        if self._desk.readable(self._build.provider, self._build.repo_url):
            self._task = asyncio.create_task(self._guarded(tree))

    async def finish(self) -> None:
        """The build has ended: say nothing more, but complete what was begun, for later visitors, if it is quick."""
        self._say = None
        if self._task is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LINGER_SECONDS):
                    await self._done.wait()

    async def close(self) -> None:
        """End the work; afterwards the commit's files may go."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _guarded(self, tree: Tree) -> None:
        try:
            await self._serve(tree)
        except Exception:
            log.exception("documents.failed", build=self._build.id)
        finally:
            self._done.set()

    async def _serve(self, tree: Tree) -> None:
        desk, build = self._desk, self._build
        await desk.store.wish(build.repo_url, build.ref, source.readme(tree), desk.clock())
        left = MOST
        with desk.wakeups.listen(topic(build.repo_url, build.ref)) as wishes:
            while left > 0:
                for path in await desk.store.wishes(build.repo_url, build.ref):
                    html = await desk.rendered(build, tree, path)
                    key = await desk.store.put(build.repo_url, build.ref, path, html)
                    left -= 1
                    if html and self._say is not None:
                        self._say(Event("", "", {"documents": {path: key}}))
                self._done.set()
                await wishes.wait(POLL_SECONDS)
