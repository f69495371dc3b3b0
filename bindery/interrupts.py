"""Signals that end a command: the first one cancels its work, and cleaning up is cut short by none."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop

T = TypeVar("T")


class Interrupted(Exception):
    """A signal ended the work, which has cleaned up."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.number = number


def ending() -> list[signal.Signals]:
    """Ctrl-C, a polite `kill`, and the end of the terminal, unless `nohup` has that ignored."""
    hangs_up = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hangs_up else [])]


def run(work: Coroutine[Any, Any, T]) -> T:
    """The result of a command's work. Raises `Interrupted` after a signal has ended it."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_interruptible(work))


async def _interruptible(work: Coroutine[Any, Any, T]) -> T:
    task = asyncio.current_task()
    assert task is not None
    received: list[signal.Signals] = []

    def end(number: signal.Signals) -> None:
        received.append(number)
        if len(received) == 1:
            task.cancel()

    for number in ending():
        asyncio.get_running_loop().add_signal_handler(number, end, number)
    try:
        return await work
    except asyncio.CancelledError:
        if received:
            raise Interrupted(received[0]) from None
        raise
