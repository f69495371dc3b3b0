"""Programs and threads at once: nobody closes what somebody else has opened."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
import uvloop

from bindery.program import Program

_OPEN = Path("/proc/self/fd")


def _open_and_close(times: int) -> None:
    """Raises `OSError` when somebody else has closed one of the descriptors."""
    for _ in range(times):
        for descriptor in os.pipe():
            os.close(descriptor)


async def _many(programs: int) -> None:
    threads = [asyncio.create_task(asyncio.to_thread(_open_and_close, 20_000)) for _ in range(4)]
    for _ in range(programs):
        program = await Program.start(["true"])
        await program.communicate()
        program.close()
    await asyncio.gather(*threads)


def test_no_descriptor_is_closed_twice() -> None:
    uvloop.run(_many(100))


@pytest.mark.skipif(not _OPEN.is_dir(), reason="needs /proc to count what is open")
def test_no_descriptor_stays_open() -> None:
    before = len(list(_OPEN.iterdir()))
    uvloop.run(_many(20))
    assert len(list(_OPEN.iterdir())) <= before
