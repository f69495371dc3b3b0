"""A running program, started without stopping the event loop.

The loop in use forks this whole process for each program it starts, and stands still meanwhile: 7 ms where the
standard library, which borrows the parent's memory until the program runs, needs 0.2 ms.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Self

PIPE = subprocess.PIPE
DEVNULL = subprocess.DEVNULL
STDOUT = subprocess.STDOUT

File = int | IO[bytes] | None

#: How much of each stream is kept for whoever reads it, in bytes, before the program has to wait.
BUFFER_BYTES = 64 * 1024


class Program:
    """A program in a session of its own, with streams for those of its files that are pipes.

    `returncode` is None while it runs, and negative where a signal ended it.
    """

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen
        #: What closes each pipe: the pipe itself, until a transport has it.
        self._holders: list[IO[bytes] | asyncio.BaseTransport] = [
            pipe for pipe in (popen.stdin, popen.stdout, popen.stderr) if pipe is not None
        ]
        self._ended = _end_of(popen)
        self.pid = popen.pid
        self.stdin: asyncio.StreamWriter | None = None
        self.stdout: asyncio.StreamReader | None = None
        self.stderr: asyncio.StreamReader | None = None

    @classmethod
    async def start(
        cls,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | str | None = None,
        stdin: File = DEVNULL,
        stdout: File = PIPE,
        stderr: File = PIPE,
    ) -> Self:
        """Start a program; a file that is None is ours too. Raises `OSError` where it cannot be executed."""
        popen = _opened(argv, env, cwd, (stdin, stdout, stderr))
        program = cls(popen)
        try:
            program.stdin = await program._writer(popen.stdin)
            program.stdout = await program._reader(popen.stdout)
            program.stderr = await program._reader(popen.stderr)
        except BaseException:
            # It may have ended meanwhile, with all of its group.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(popen.pid, signal.SIGKILL)
            popen.wait()
            program.close()
            raise
        return program

    async def _reader(self, pipe: IO[bytes] | None) -> asyncio.StreamReader | None:
        if pipe is None:
            return None
        reader = asyncio.StreamReader(limit=BUFFER_BYTES)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, _lent(pipe))
        self._connected(pipe, transport)
        return reader

    async def _writer(self, pipe: IO[bytes] | None) -> asyncio.StreamWriter | None:
        if pipe is None:
            return None
        loop = asyncio.get_running_loop()
        protocol = asyncio.StreamReaderProtocol(asyncio.StreamReader())
        transport, _ = await loop.connect_write_pipe(lambda: protocol, _lent(pipe))
        self._connected(pipe, transport)
        return asyncio.StreamWriter(transport, protocol, None, loop)

    def _connected(self, pipe: IO[bytes], transport: asyncio.BaseTransport) -> None:
        self._holders.remove(pipe)
        self._holders.append(transport)

    @property
    def returncode(self) -> int | None:
        return self._ended.result() if self._ended.done() else None

    async def wait(self) -> int:
        """Its exit code, once it has ended; others may still hold its pipes then."""
        return await asyncio.shield(self._ended)

    async def communicate(self, data: bytes | None = None) -> tuple[bytes, bytes]:
        """Write all of `data`, read both streams to their ends, and wait for the program's end."""
        _, stdout, stderr = await asyncio.gather(self._write(data), _all(self.stdout), _all(self.stderr))
        await self.wait()
        return stdout, stderr

    async def _write(self, data: bytes | None) -> None:
        if self.stdin is None:
            return
        # One that does not read all it is told ends with an exit code that says more.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if data:
                self.stdin.write(data)
                await self.stdin.drain()
        self.stdin.close()

    def close(self) -> None:
        """Let go of the pipes, whoever holds their other ends."""
        for holder in self._holders:
            holder.close()

    def terminate(self) -> None:
        """Ask it to end."""
        self._popen.terminate()


def _opened(
    argv: Sequence[str | Path],
    env: Mapping[str, str] | None,
    cwd: Path | str | None,
    files: tuple[File, File, File],
) -> subprocess.Popen[bytes]:
    stdin, stdout, stderr = files
    words = [os.fspath(word) for word in argv]
    return subprocess.Popen(
        words, env=env, cwd=cwd, stdin=stdin, stdout=stdout, stderr=stderr, bufsize=0, start_new_session=True
    )


def _lent(pipe: IO[bytes]) -> IO[bytes]:
    """A pipe as the event loop takes it.

    uvloop closes its descriptor, and then the file too: by then another thread may have the same number in use.
    """
    if not type(asyncio.get_running_loop()).__module__.startswith("uvloop"):
        return pipe
    descriptor = os.dup(pipe.fileno())
    pipe.close()
    return os.fdopen(descriptor, pipe.mode, buffering=0, closefd=False)


async def _all(stream: asyncio.StreamReader | None) -> bytes:
    return b"" if stream is None else await stream.read()


def _end_of(popen: subprocess.Popen[bytes]) -> asyncio.Future[int]:
    """The exit code to come."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()
    if not hasattr(os, "pidfd_open"):
        return asyncio.ensure_future(asyncio.to_thread(popen.wait))
    descriptor = os.pidfd_open(popen.pid)

    def ring() -> None:
        loop.remove_reader(descriptor)
        os.close(descriptor)
        if not ended.done():
            ended.set_result(popen.wait())

    loop.add_reader(descriptor, ring)
    return ended
