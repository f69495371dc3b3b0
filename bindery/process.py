"""Running programs: always with a time limit, always ended together with everything they started."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bindery.program import DEVNULL, PIPE, STDOUT, Program

#: Seconds between asking a process group to end and killing it.
GRACE_SECONDS = 2.0
#: Seconds without output after which a program that has ended is taken to have said everything.
QUIET_SECONDS = 0.5


@dataclass(frozen=True)
class Finished:
    """A program's end: its exit code (negative: the signal that ended it) and its output, where it was captured."""

    returncode: int
    stdout: bytes = b""
    stderr: bytes = b""


class ProcessTimeout(Exception):
    """The program did not end within its limit, and was ended."""


@contextlib.asynccontextmanager
async def spawned(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    cwd: Path | None = None,
    stdin: int = DEVNULL,
    merge_stderr: bool = False,
) -> AsyncIterator[Program]:
    """A program in a session of its own; leaving the block ends its whole process group."""
    process = await Program.start(argv, env=env, cwd=cwd, stdin=stdin, stderr=STDOUT if merge_stderr else PIPE)
    try:
        yield process
    finally:
        try:
            await asyncio.shield(end_group(process))
        finally:
            # Who left the group may still hold the other end of a pipe.
            process.close()


async def end_group(process: Program) -> None:
    """End a process that leads its group: politely first, then for good. Members that outlive it are killed."""
    if process.returncode is None:
        signal_group(process.pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS):
                await process.wait()
    signal_group(process.pid, signal.SIGKILL)
    await process.wait()


def signal_group(group: int, number: signal.Signals) -> None:
    """Send a signal to a process group; one that is gone is no error."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


async def run(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    timeout_seconds: float,
    cwd: Path | None = None,
    input_bytes: bytes | None = None,
) -> Finished:
    """Run a program to its end and capture its output.

    Raises `ProcessTimeout` after `timeout_seconds`, `FileNotFoundError` when there is no such program.
    """
    stdin = DEVNULL if input_bytes is None else PIPE
    async with spawned(argv, env=env, cwd=cwd, stdin=stdin) as process:
        try:
            async with asyncio.timeout(timeout_seconds):
                stdout, stderr = await process.communicate(input_bytes)
        except TimeoutError:
            raise ProcessTimeout(f"{Path(argv[0]).name} did not end within {timeout_seconds:g} s") from None
        return Finished(await process.wait(), stdout, stderr)


async def run_lines(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    timeout_seconds: float,
    on_line: Callable[[str], Awaitable[None] | None],
    cwd: Path | None = None,
) -> int:
    """Run a program and hand on each line of its output, stderr included, as it comes; return its exit code.

    Lines keep their end; longer ones than `BUFFER_BYTES` come in pieces; bytes that are not UTF-8 are replaced.
    What `on_line` returns is awaited, so that it can slow down a program that writes too fast. Processes that outlive
    the program are not waited for. Raises as `run` does.
    """
    async with spawned(argv, env=env, cwd=cwd, merge_stderr=True) as process:
        assert process.stdout is not None
        try:
            async with asyncio.timeout(timeout_seconds):
                async for line in _lines(process, process.stdout):
                    taken = on_line(line.decode(errors="replace"))
                    if taken is not None:
                        await taken
                return await process.wait()
        except TimeoutError:
            raise ProcessTimeout(f"{Path(argv[0]).name} did not end within {timeout_seconds:g} s") from None


async def _lines(process: Program, stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Lines until the stream ends, or until it is quiet after the program's end."""
    while True:
        reading = asyncio.create_task(_line(stream))
        try:
            while not (await asyncio.wait({reading}, timeout=QUIET_SECONDS))[0]:
                if process.returncode is not None:
                    return
            line = await reading
        finally:
            reading.cancel()
        if not line:
            return
        yield line


async def _line(stream: asyncio.StreamReader) -> bytes:
    try:
        return await stream.readuntil(b"\n")
    except asyncio.IncompleteReadError as end:
        return end.partial
    except asyncio.LimitOverrunError as overrun:
        return await stream.readexactly(max(overrun.consumed, 1))
