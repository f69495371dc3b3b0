"""Files that no Git server has, as a commit: the same files and the same message always give the same one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from bindery.errors import DiskFull, InvalidArchive, RepositoryEmpty, ToolMissing
from bindery.process import Finished, spawned
from bindery.program import PIPE
from builder import git
from builder.archive import Contents, Member, telling

REF = "refs/bindery/commit"
#: Files from so many bytes on are written as they come, not held in memory.
_BIG_FILE = 16 * 1024 * 1024
_BLOCK = 256 * 1024
_SECONDS = 60.0
#: The first second of the year 2000: every such commit has it.
_AUTHOR = b"Bindery <bindery@localhost> 946684800 +0000"


async def commit(files: Contents, message: str, folder: Path) -> str:
    """Make a bare repository at `folder` with one commit of the files; returns its id.

    Raises what reading the files raises, `RepositoryEmpty` or `DiskFull`.
    """
    members = files.members()
    first = await asyncio.to_thread(next, members, None)
    if first is None:
        raise RepositoryEmpty("There are no files in it.", hint="Publish a version that has files.")
    _checked(await git.git("init", "--quiet", "--bare", folder, timeout_seconds=_SECONDS))
    _checked(await _import(_blocks(_script(chain((first,), members), message)), folder))
    found = _checked(await git.git("rev-parse", "--verify", REF, timeout_seconds=_SECONDS, cwd=folder))
    return found.stdout.decode().strip()


async def _import(blocks: Iterator[bytes], folder: Path) -> Finished:
    config = {"core.bigFileThreshold": str(_BIG_FILE), "core.compression": "1", "fastimport.unpackLimit": "0"}
    argv = git.command("fast-import", "--quiet", "--done", "--date-format=raw", config=config)
    try:
        async with spawned(argv, env=git.environment(), cwd=folder, stdin=PIPE) as process:
            assert process.stdin is not None
            try:
                while block := await asyncio.to_thread(next, blocks, b""):
                    process.stdin.write(block)
                    await process.stdin.drain()
            except (BrokenPipeError, ConnectionResetError):
                pass  # Its last words say why.
            stdout, stderr = await process.communicate()
            return Finished(await process.wait(), stdout, stderr)
    except FileNotFoundError as error:
        raise ToolMissing("Git is not installed on the server.") from error


def _script(members: Iterator[Member], message: str) -> Iterator[bytes]:
    """What `git fast-import` reads."""
    yield b"feature done\ncommit %s\ncommitter %s\n" % (REF.encode(), _AUTHOR)
    text = message.encode()
    yield b"data %d\n%s\n" % (len(text), text)
    for member in members:
        yield from _file(member)
    yield b"done\n"


def _file(member: Member) -> Iterator[bytes]:
    if member.same_as:
        yield b"C %s %s\n" % (_quoted(member.same_as), _quoted(member.path))
        return
    yield b"M %s inline %s\ndata %d\n" % (member.mode.encode(), _quoted(member.path), member.size)
    size = 0
    with telling():
        for chunk in member.content():
            size += len(chunk)
            if size > member.size:
                break
            yield chunk
    if size != member.size:
        raise InvalidArchive(f"The archive is broken: {member.path} is not as long as it should be.")
    yield b"\n"


def _quoted(path: str) -> bytes:
    encoded = path.encode(errors="surrogateescape")
    return b'"%s"' % encoded.replace(b"\\", b"\\\\").replace(b'"', b'\\"')


def _blocks(pieces: Iterator[bytes]) -> Iterator[bytes]:
    block = bytearray()
    for piece in pieces:
        block += piece
        if len(block) >= _BLOCK:
            yield bytes(block)
            block.clear()
    if block:
        yield bytes(block)


def _checked(finished: Finished) -> Finished:
    if finished.returncode == 0:
        return finished
    words = finished.stderr.decode(errors="replace").strip()
    if "No space left on device" in words:
        raise DiskFull("There is no space left for the repository's files.")
    raise InvalidArchive(f"The files cannot be put into a repository: {words[:300]}")
