"""Finding and ending everything that a session started, however it tried to get away."""

from __future__ import annotations

import time

import psutil

#: The variable that marks every process of a session.
MARK = "BINDERY_SESSION"
#: Seconds after which processes that do not die are given up.
GIVE_UP_SECONDS = 5.0


def processes_of(name: str) -> list[psutil.Process]:
    """The processes that carry the mark of session `name`."""
    return [process for process in psutil.process_iter() if _mark(process) == name]


def end_processes(name: str) -> int:
    """Kill all processes of session `name`, again and again until there are none; return how many there were."""
    count = 0
    deadline = time.monotonic() + GIVE_UP_SECONDS
    while (found := processes_of(name)) and time.monotonic() < deadline:
        count += len(found)
        for process in found:
            _kill(process)
        psutil.wait_procs(found, timeout=1.0)
    return count


def _mark(process: psutil.Process) -> str | None:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process.environ().get(MARK)
    except (psutil.Error, OSError):
        return None


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.Error:
        return
