"""Patience: what goes on when a database that was away is back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from bindery.errors import DatabaseUnavailable

log = structlog.get_logger(__name__)

#: Seconds between two tries.
RETRY_SECONDS = 1.0

T = TypeVar("T")


async def patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask again while the database does not answer, until cancelled; for what may be done twice."""
    while True:
        try:
            return await ask()
        except DatabaseUnavailable as error:
            log.warning("database.awaited", message=error.message)
        await asyncio.sleep(RETRY_SECONDS)
