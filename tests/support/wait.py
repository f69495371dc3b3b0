"""Waiting for a condition, with a deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

_LOOK_SECONDS = 0.02


async def until(condition: Callable[[], bool | Awaitable[bool]], seconds: float = 20.0, what: str = "") -> None:
    """Return once the condition holds; fails after the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if await answer if isinstance(answer, Awaitable) else answer:
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or condition}")
        await asyncio.sleep(_LOOK_SECONDS)
