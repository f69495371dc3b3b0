"""Running a program to its end."""

from __future__ import annotations

import asyncio
import os

from bindery.process import run

ROUNDS = 150
STEP_SECONDS = 0.00005


async def test_a_cancellation_is_never_lost() -> None:
    lost = []
    for number in range(ROUNDS):
        work = asyncio.create_task(run(["true"], env={"PATH": os.environ["PATH"]}, timeout_seconds=30))
        # From its start to beyond its end.
        await asyncio.sleep(number * STEP_SECONDS)
        cancelled = work.cancel()
        await asyncio.wait({work})
        if cancelled and not work.cancelled():
            lost.append(number)
    assert lost == []
