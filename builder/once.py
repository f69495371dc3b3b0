"""Questions that many ask at the same time, and that are answered once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Once(Generic[T]):
    """Concurrent calls with one key share one answer, or one error; nothing is kept afterwards.

    A question goes on for the others when one of those who asked it leaves.
    """

    def __init__(self) -> None:
        self._asked: dict[str, asyncio.Task[T]] = {}

    async def __call__(self, key: str, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The answer of `ask`, or of the call that is asking already."""
        if key not in self._asked:
            self._asked[key] = asyncio.create_task(ask())
            self._asked[key].add_done_callback(lambda _: self._asked.pop(key, None))
        return await asyncio.shield(self._asked[key])
