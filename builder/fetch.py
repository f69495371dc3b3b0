"""Fetch: one commit into a bare repository on this machine, within limits, and its listing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import time
from collections.abc import AsyncGenerator, Callable
from functools import partial
from pathlib import Path

from bindery.errors import HostUnreachable, InvalidDependencyFile, RefNotFound, ToolMissing
from bindery.process import Finished, spawned
from bindery.settings import MIB, FetchSettings
from builder import git
from builder.fetch_limits import TELL_SECONDS, Tell, too_large
from builder.fetch_pack import fetch_pack
from builder.git import Remote
from builder.tree import Entry, Tree

#: How often the size of a running download is looked at, in seconds.
WATCH_SECONDS = 0.2
#: How long one look into the fetched repository may take, in seconds.
READ_SECONDS = 60.0

_REFUSED = ("unadvertised object", "not our ref", "shallow capabilities", "does not support shallow", "remote error")


async def fetch(remote: Remote, commit: str, folder: Path, limits: FetchSettings, tell: Tell) -> None:
    """Bring `commit` into a new bare repository at `folder`.

    Asks for the commit alone first; where the server refuses that, for all branches and tags. Raises
    `RepositoryTooLarge`, `RefNotFound`, `HostUnreachable` and what `git.failure` finds.
    """
    await asyncio.to_thread(_begin, folder)
    if not await _fetched_alone(remote, commit, folder, limits, tell):
        await _fetched_by_git(remote, commit, folder, limits, tell)
    # An ordinary ref keeps the commit from being unreachable.
    await asyncio.to_thread((folder / "refs" / "bindery" / "commit").write_text, f"{commit}\n")


def _begin(folder: Path) -> None:
    """A bare repository with nothing in it, as Git makes one."""
    for part in ("objects/pack", "refs/bindery"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "HEAD").write_text("ref: refs/heads/main\n")
    (folder / "config").write_text("[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n")


async def _fetched_alone(remote: Remote, commit: str, folder: Path, limits: FetchSettings, tell: Tell) -> bool:
    """Whether the commit came, without a git process for the network; nothing came if not."""
    if remote.client is None or not remote.offers.single_commits:
        return False
    return await fetch_pack(remote.client, remote.url, commit, folder, limits, tell)


async def _fetched_by_git(remote: Remote, commit: str, folder: Path, limits: FetchSettings, tell: Tell) -> None:
    deadline = time.monotonic() + limits.timeout_seconds
    finished = await _download(remote, folder, limits, deadline, tell, "--depth=1", commit)
    if finished.returncode != 0 and _refuses_single_commits(finished):
        tell("The server does not hand out single commits: fetching all branches and tags.\n")
        everything = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
        finished = await _download(remote, folder, limits, deadline, tell, *everything)
    if finished.returncode != 0:
        raise git.failure(remote, finished)
    found = await git.git("cat-file", "-e", f"{commit}^{{commit}}", timeout_seconds=READ_SECONDS, cwd=folder)
    if found.returncode != 0:
        raise RefNotFound(f"The repository has no commit {commit}.", hint="HEAD is the default branch.")


def _refuses_single_commits(finished: Finished) -> bool:
    words = finished.stderr.decode(errors="replace").lower()
    return any(sign in words for sign in _REFUSED)


async def _download(
    remote: Remote, folder: Path, limits: FetchSettings, deadline: float, tell: Tell, *what: str
) -> Finished:
    arguments = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--recurse-submodules=no"]
    options = [word for word in what if word.startswith("-")]
    refs = [word for word in what if not word.startswith("-")]
    argv = git.command(*arguments, *options, "--", remote.url, *refs, remote=remote)
    try:
        async with spawned(argv, env=git.environment(git.protocol(remote)), cwd=folder) as process:
            done = asyncio.create_task(process.communicate())
            try:
                await _watch(done, folder, limits, deadline, tell)
                stdout, stderr = await done
            finally:
                done.cancel()
            return Finished(await process.wait(), stdout, stderr)
    except FileNotFoundError as error:
        raise ToolMissing("Git is not installed on the server.") from error


async def _watch(
    done: asyncio.Task[tuple[bytes, bytes]], folder: Path, limits: FetchSettings, deadline: float, tell: Tell
) -> None:
    told = time.monotonic()
    while not (await asyncio.wait({done}, timeout=WATCH_SECONDS))[0]:
        now = time.monotonic()
        size = await asyncio.to_thread(folder_bytes, folder)
        if size > limits.max_bytes:
            raise too_large(limits)
        if now > deadline:
            raise HostUnreachable(f"Fetching took longer than {limits.timeout_seconds:g} seconds.")
        if now - told >= TELL_SECONDS:
            told = now
            tell(f"Received {size / MIB:.1f} MiB\n")


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below a folder; files that vanish meanwhile count nothing."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += (Path(root) / name).lstat().st_size
    return total


async def read_tree(folder: Path, commit: str, limits: FetchSettings) -> Tree:
    """List a fetched commit. Raises `RepositoryTooLarge` for too many files or bytes, without reading them all."""
    entries: dict[str, Entry] = {}
    total = 0
    async with contextlib.aclosing(_listing(folder, commit)) as rows:
        async for path, entry in rows:
            entries[path] = entry
            total += entry.size
            if total > limits.max_bytes or len(entries) > limits.max_files:
                raise too_large(limits)
    return Tree(entries, _reader(folder), partial(_tree_id, folder, commit))


def _tree_id(folder: Path, commit: str) -> str:
    argv = git.command("rev-parse", "--verify", f"{commit}^{{tree}}")
    said = subprocess.run(argv, cwd=folder, env=git.environment(), capture_output=True, timeout=READ_SECONDS)
    _checked(Finished(said.returncode, said.stdout, said.stderr))
    return said.stdout.decode().strip()


async def _listing(folder: Path, commit: str) -> AsyncGenerator[tuple[str, Entry], None]:
    argv = git.command("ls-tree", "-r", "-l", "-z", "--full-tree", f"{commit}^{{commit}}")
    async with spawned(argv, env=git.environment(), cwd=folder) as process:
        assert process.stdout is not None
        rest = b""
        while chunk := await _piece(process.stdout):
            *rows, rest = (rest + chunk).split(b"\0")
            for row in rows:
                yield _entry(row)
        if await process.wait() != 0:
            raise HostUnreachable("The fetched commit cannot be read.")


async def _piece(stream: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(READ_SECONDS):
        return await stream.read(MIB)


def _entry(row: bytes) -> tuple[str, Entry]:
    facts, _, path = row.partition(b"\t")
    mode, _, object_id, size = facts.split()
    return os.fsdecode(path), Entry(mode.decode(), object_id.decode(), int(size) if size != b"-" else 0)


def _reader(folder: Path) -> Callable[[str, int], bytes]:
    def read(object_id: str, limit: int) -> bytes:
        argv = git.command("cat-file", "blob", object_id)
        with subprocess.Popen(
            argv,
            cwd=folder,
            env=git.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            assert process.stdout is not None
            content = process.stdout.read(limit + 1)
            process.kill()
        if len(content) > limit:
            raise InvalidDependencyFile(f"A dependency file is larger than {limit // 1024} KiB.")
        return content

    return read


def _checked(finished: Finished) -> None:
    if finished.returncode != 0:
        words = finished.stderr.decode(errors="replace").strip()
        raise HostUnreachable(f"The repository cannot be read: {words[:300]}")
