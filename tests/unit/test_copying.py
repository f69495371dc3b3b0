"""Copying a session's files: all of them as they are, and nobody writes any more once they are not wanted."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.spawners import copying
from launcher.spawners.copying import Copier, CopyTimeout

OLD = 1_000_000_000


@pytest.fixture
def copier() -> Iterator[Copier]:
    found = Copier()
    yield found
    found.close()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "data" / "deep").mkdir(parents=True)
    (folder / "a b.ipynb").write_text("{}")
    (folder / "empty").touch()
    (folder / "data" / "deep" / "numbers.bin").write_bytes(bytes(range(256)) * 1000)
    (folder / "run").write_text("#!/bin/sh\n")
    (folder / "run").chmod(0o755)
    (folder / "link").symlink_to("data/deep")
    (folder / "dangling").symlink_to("/nowhere")
    os.utime(folder / "a b.ipynb", (OLD, OLD))
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    folder.mkdir(mode=0o700)
    return folder


def shown(folder: Path) -> dict[str, object]:
    """Everything in a folder: kinds, modes, times of files, contents, where links lead."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        state = path.lstat()
        what: object = None
        if path.is_symlink():
            what = path.readlink()
        elif path.is_file():
            what = (path.read_bytes(), state.st_mtime_ns)
        found[str(path.relative_to(folder))] = (stat.filemode(state.st_mode), what)
    return found


async def test_everything_is_copied_as_it_is(copier: Copier, source: Path, target: Path) -> None:
    await copier.copy(source, target, seconds=60)
    assert shown(target) == shown(source)
    assert (target / "a b.ipynb").stat().st_mtime == OLD


async def test_what_cannot_be_written_to_is_copied_too(copier: Copier, source: Path, target: Path) -> None:
    (source / "run").chmod(0o400)
    (source / "data").chmod(0o500)
    try:
        await copier.copy(source, target, seconds=60)
        assert shown(target) == shown(source)
    finally:
        for folder in (source, target):
            (folder / "data").chmod(0o700)


async def test_long_files_are_copied_in_pieces(
    copier: Copier, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "PIECE_BYTES", 1000)
    await copier.copy(source, target, seconds=60)
    assert shown(target) == shown(source)


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EOPNOTSUPP])
async def test_a_file_system_that_does_not_copy_by_itself_is_read(
    copier: Copier, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def unable(old: int, new: int, count: int) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "copy_file_range", unable, raising=False)
    await copier.copy(source, target, seconds=60)
    assert shown(target) == shown(source)


async def test_a_full_disk_is_told(copier: Copier, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(old: int, new: int, count: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "copy_file_range", full, raising=False)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        await copier.copy(source, target, seconds=60)


async def test_what_is_no_file_is_left_out_and_not_waited_for(
    copier: Copier, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(source / "pipe")
    monkeypatch.chdir(source)
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind("agent")
    await copier.copy(source, target, seconds=60)
    for name in ("pipe", "agent"):
        (source / name).unlink()
    assert shown(target) == shown(source)


class Gate:
    """Holds up copying after its first piece, until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()
        self.pieces = 0
        monkeypatch.setattr(os, "copy_file_range", self.copy, raising=False)

    def copy(self, old: int, new: int, count: int) -> int:
        self.pieces += 1
        self.reached.set()
        assert self.opened.wait(30)
        return os.write(new, b"x")

    async def reach(self) -> None:
        assert await asyncio.to_thread(self.reached.wait, 30)


async def test_whoever_is_cancelled_leaves_nobody_behind_that_writes(
    copier: Copier, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    copy = asyncio.create_task(copier.copy(source, target, seconds=60))
    await gate.reach()
    copy.cancel()
    await asyncio.wait({copy}, timeout=0.05)
    assert not copy.done(), "it waits until nobody writes any more"
    gate.opened.set()
    with pytest.raises(asyncio.CancelledError):
        await copy
    assert gate.pieces == 1


async def test_what_has_not_begun_is_given_up_at_once(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "AT_ONCE", 1)
    single, gate = Copier(), Gate(monkeypatch)
    first = asyncio.create_task(single.copy(source, target, seconds=60))
    await gate.reach()
    waiting = asyncio.create_task(single.copy(source, target / "other", seconds=60))
    await asyncio.sleep(0)
    waiting.cancel()
    async with asyncio.timeout(30):
        await asyncio.gather(waiting, return_exceptions=True)
    first.cancel()
    await asyncio.wait({first}, timeout=0.05)
    gate.opened.set()
    await asyncio.gather(first, return_exceptions=True)
    single.close()
    assert not (target / "other").exists()


async def test_what_takes_too_long_is_given_up(
    copier: Copier, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    copy = asyncio.create_task(copier.copy(source, target, seconds=0.01))
    await gate.reach()
    await asyncio.wait({copy}, timeout=0.05)
    assert not copy.done(), "it waits until nobody writes any more"
    gate.opened.set()
    with pytest.raises(CopyTimeout):
        await copy
    assert gate.pieces == 1
