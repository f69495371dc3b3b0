"""One build's place to work: a folder, who makes its images, and what keeps two builds from doing the same thing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex

from bindery.errors import BinderyError, InstallFailed
from bindery.settings import Settings
from builder.engines.layered.context import Site
from builder.engines.layered.making import ImageMaker, Recipe, StepFailed
from builder.engines.leftovers import BUILD_VARIABLE, ROOT_VARIABLE
from builder.engines.narration import Say
from builder.engines.uv import failure


@dataclass
class Locks:
    """One lock for each name that somebody wants."""

    _locks: dict[str, asyncio.Lock] = field(default_factory=dict)

    @contextlib.asynccontextmanager
    async def alone(self, name: str, on_wait: Callable[[], Awaitable[None]] | None = None) -> AsyncIterator[None]:
        """One at a time for a name; `on_wait` is awaited if somebody else is there."""
        lock = self._locks.setdefault(name, asyncio.Lock())
        if lock.locked() and on_wait is not None:
            await on_wait()
        async with lock:
            yield


@dataclass(frozen=True)
class Workshop:
    """What the steps of one build work with. `folder` is its own; `cache` lasts; `draft` names what is not finished."""

    build_id: str
    maker: ImageMaker
    draft: str
    site: Site
    root: Path
    folder: Path
    cache: Path
    say: Say
    settings: Settings
    locks: Locks
    #: What names of caches begin with; empty: a secret of the data directory.
    caches: str = ""

    def alone(self, name: str) -> contextlib.AbstractAsyncContextManager[None]:
        """One build at a time for a name."""
        return self.locks.alone(name, lambda: self.say("Another build makes the same thing already: waiting\n"))

    def cache_name(self, what: str) -> str:
        """The name of a cache of builds. Nobody can guess it, so no repository's Dockerfile can ask for it."""
        if self.caches:
            return f"{self.caches}-{what}"
        path = self.cache / "docker-caches"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            path.write_text(token_hex(8), encoding="ascii")
        return f"{path.read_text(encoding='ascii')}-{what}"

    async def build(
        self,
        dockerfile: str,
        context: Path,
        tag: str,
        *,
        labels: Mapping[str, str] | None = None,
        login: bool = True,
        failed: BinderyError | None = None,
        reads: tuple[str, ...] = (),
    ) -> Mapping[str, bytes]:
        """Build an image; returns those of the files `reads` that it has.

        A step's failure is raised as `failed`, else as what the installer's words mean.
        """
        try:
            return await self.try_build(dockerfile, context, tag, labels=labels, login=login, reads=reads)
        except StepFailed as problem:
            raise failed or meaning(problem) from problem

    async def try_build(
        self,
        dockerfile: str,
        context: Path,
        tag: str,
        *,
        labels: Mapping[str, str] | None = None,
        login: bool = True,
        secrets: bool = True,
        arguments: Mapping[str, str] | None = None,
        headings: bool = False,
        reads: tuple[str, ...] = (),
        cache: str = "",
    ) -> Mapping[str, bytes]:
        """The same; raises `StepFailed` when a step fails."""
        path = self.folder / f"{context.name}.Dockerfile"
        await asyncio.to_thread(path.write_text, dockerfile, encoding="utf-8")
        given = await self.site.secrets(self.folder / "secrets", login=login) if secrets else {}
        recipe = Recipe(
            dockerfile=path,
            context=context,
            tag=tag,
            secrets=given,
            build_args={**self.site.proxies(), **(arguments or {})},
            labels=labels or {},
            headings=headings,
            reads=reads,
            cache=cache,
        )
        marks = {BUILD_VARIABLE: self.build_id, ROOT_VARIABLE: str(self.root)}
        limit = self.settings.build.timeout_seconds
        return await self.maker.build(recipe, self.say, timeout_seconds=limit, marks=marks)


def meaning(problem: StepFailed) -> BinderyError:
    """What the failure of an install step means."""
    for line in problem.output.splitlines():
        if line.startswith("E: "):
            hint = "Correct apt.txt: names of packages of this image's release."
            return InstallFailed(f"A system package cannot be installed: {line[3:]}", hint=hint)
    if problem.output.strip():
        return failure(problem.output, 1)
    return InstallFailed(
        f"The image could not be built: {problem.words.splitlines()[-1][:300] if problem.words else ''}"
    )
