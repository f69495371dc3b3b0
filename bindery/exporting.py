"""`bindery export-dockerfile`: a folder that makes a repository's image with `docker build` alone."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from rich.console import Console

from bindery.errors import RequestRefused
from bindery.fetching import Fetched, fetched
from bindery.settings import EngineName, Settings
from bindery.terminal import marked
from builder.engines.base import BuildJob
from builder.engines.docker import DockerEngine
from builder.engines.docker_export import Exported
from builder.planning import plan_for
from registry.directory import remove_tree


async def export(repository: str, ref: str, wanted: Path | None, settings: Settings, output: Console) -> None:
    """Write the folder and say what to do with it. What a build would refuse is refused.

    Raises `ToolMissing` where no Docker Engine answers: what the operating system's image has decides what is written.
    """
    folder = (wanted or Path(f"{_name(repository)}-dockerfile")).absolute()
    _check_free(folder)
    changed = {"engine": EngineName.DOCKER, "data_dir": settings.data_dir.absolute()}
    settings = settings.model_copy(update=changed)
    engine = await DockerEngine.open(settings)

    async def say(line: str) -> None:
        output.print(f"[dim]{marked(line.rstrip())}[/dim]", soft_wrap=True)

    async with fetched(repository, ref, settings) as source, _draft(folder) as draft:
        done = await engine.export(await _job(engine, source), draft, say)
    output.print(f"[green]Written:[/green] {marked(str(folder))}", soft_wrap=True)
    output.print(marked(_build_command(folder, done)), soft_wrap=True)
    output.print("docker run -p 8888:8888 NAME")


async def _job(engine: DockerEngine, source: Fetched) -> BuildJob:
    plan = await plan_for(engine, source.tree)
    engine.check(plan)
    url = source.resolved.repo_url
    return BuildJob(
        build_id="export",
        image="",
        plan=plan,
        repository=source.folder,
        commit=source.commit,
        # Where the folder is on this machine is nobody else's business.
        repo_url=_name(url) if url.startswith("file:") else url,
        ref_url="",
    )


def _name(repository: str) -> str:
    """A repository's own name, at the end of what names it."""
    return repository.rstrip("/").rpartition("/")[2].removesuffix(".git") or "repository"


def _check_free(folder: Path) -> None:
    if folder.is_symlink() or folder.exists():
        raise RequestRefused(f"{folder} is there already.", hint="Name a new folder with --output.")


@contextlib.asynccontextmanager
async def _draft(folder: Path) -> AsyncIterator[Path]:
    """A folder that gets its name when the block has ended well, and is gone when not."""
    await asyncio.to_thread(folder.parent.mkdir, parents=True, exist_ok=True)
    around = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix=".bindery-", dir=folder.parent))
    try:
        yield around / "export"
        (around / "export").rename(folder)
    finally:
        await asyncio.shield(asyncio.to_thread(remove_tree, around))


def _build_command(folder: Path, done: Exported) -> str:
    words = ["docker", "build", "-t", "NAME"]
    words += [word for name, value in done.arguments.items() for word in ("--build-arg", f"{name}={value}")]
    if done.dockerfile != "Dockerfile":
        words += ["-f", str(folder / done.dockerfile)]
    return shlex.join([*words, str(folder)])
