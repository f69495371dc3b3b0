"""Programs are started without stopping the event loop, and nothing of them is left."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from bindery.program import PIPE, STDOUT, Program
from tests.support.wait import until

SHELL = Path("/bin/sh")


def descriptors() -> int:
    return len(list(Path("/proc/self/fd" if sys.platform == "linux" else "/dev/fd").iterdir()))


def runs(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def test_streams_and_exit_code() -> None:
    program = await Program.start([SHELL, "-c", "cat; echo problem >&2; exit 3"], stdin=PIPE)
    running = program.returncode
    assert await program.communicate(b"x" * 200_000) == (b"x" * 200_000, b"problem\n")
    assert (running, await program.wait(), program.returncode) == (None, 3, 3)
    program.close()


async def test_a_program_that_does_not_read_what_it_is_told() -> None:
    program = await Program.start([SHELL, "-c", "exit 7"], stdin=PIPE)
    await program.communicate(b"x" * 1_000_000)
    assert program.returncode == 7
    program.close()


async def test_one_stream_for_both() -> None:
    program = await Program.start([SHELL, "-c", "echo a; echo b >&2"], stderr=STDOUT)
    assert await program.communicate() == (b"a\nb\n", b"")
    program.close()


async def test_its_end_is_seen_while_a_child_holds_its_pipes() -> None:
    program = await Program.start([SHELL, "-c", "sleep 60 & exit 0"])
    async with asyncio.timeout(10):
        assert await program.wait() == 0
    os.killpg(program.pid, signal.SIGKILL)
    program.close()


async def test_the_signal_that_ended_it() -> None:
    program = await Program.start([SHELL, "-c", "sleep 60"])
    program.terminate()
    async with asyncio.timeout(10):
        assert await program.wait() == -signal.SIGTERM
    program.close()


async def test_no_such_program(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await Program.start([tmp_path / "none"])


async def test_nothing_is_left_open() -> None:
    async def run() -> None:
        program = await Program.start([SHELL, "-c", "cat"], stdin=PIPE)
        await program.communicate(b"")
        program.close()

    at_first = descriptors()
    await run()
    # A loop keeps one of its own.
    await until(lambda: descriptors() <= at_first + 1, what="the first one's pipes are closed")
    before = descriptors()
    for _ in range(4):
        await run()
    await until(lambda: descriptors() == before, what="all pipes are closed")


async def test_an_interrupted_start_leaves_nothing_running(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []

    async def interrupted(self: Program, pipe: object) -> None:
        started.append(self.pid)
        raise asyncio.CancelledError

    monkeypatch.setattr(Program, "_reader", interrupted)
    with pytest.raises(asyncio.CancelledError):
        await Program.start([SHELL, "-c", "sleep 60"])
    assert not runs(started[0])
