"""Finding and ending everything that a session started, however it tried to get away."""

from __future__ import annotations

import contextlib
import time

import psutil

#: The variable that marks every process of a session.
MARK = "BINDERY_SESSION"
#: Seconds after which processes that do not die are given up.
GIVE_UP_SECONDS = 5.0


def processes_of(*names: str) -> list[psutil.Process]:
    """The processes that carry the mark of one of these sessions."""
    return [process for process in psutil.process_iter() if _mark(process) in names]


def end_processes(*names: str) -> None:
    """Kill all processes of these sessions, again and again until there are none."""
    deadline = time.monotonic() + GIVE_UP_SECONDS
    while names and (found := processes_of(*names)) and time.monotonic() < deadline:
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(found, timeout=1.0)


def _mark(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(MARK)
    except (psutil.Error, OSError):
        return None
