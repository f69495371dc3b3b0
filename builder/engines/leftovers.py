"""Processes and files that builds of an earlier service left behind."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Iterator
from pathlib import Path

import psutil

from registry.directory import remove_tree

#: Carried by everything that a build starts, so that it can be found and ended: the build's id, the data directory.
BUILD_VARIABLE = "BINDERY_BUILD"
ROOT_VARIABLE = "BINDERY_BUILD_ROOT"

_END_SECONDS = 5.0
_UNREADABLE_SECONDS, _LOOK_SECONDS = 0.1, 0.001
#: Where /proc/<pid>/stat says, behind the program's name, where variables begin and end, and what it says first: see
#: proc(5).
_VARIABLES, _NOWHERE = slice(47, 49), ["0", "0"]


def builds_with_leftovers(root: Path) -> set[str]:
    """All builds that have processes or a folder in the data directory `root`, those that run among them."""
    scratch = root / "builds"
    folders = {folder.name for folder in scratch.iterdir()} if scratch.is_dir() else set()
    return folders | {build for _, build in _processes(root)}


def remove_leftovers(root: Path, build_ids: Collection[str]) -> None:
    """End all processes of these builds, and remove their folders."""
    if build_ids:
        _end([process for process, build in _processes(root) if build in build_ids])
    for build_id in build_ids:
        remove_tree(root / "builds" / build_id)


def end_build(root: Path, build_id: str) -> None:
    """End all processes of one build."""
    _end([process for process, build in _processes(root) if build == build_id])


def _end(processes: list[psutil.Process]) -> None:
    """Kill, and wait for all but our own children: whoever started those wants to read their exit code."""
    strangers = []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            if process.ppid() != os.getpid():
                strangers.append(process)
            process.kill()
    psutil.wait_procs(strangers, timeout=_END_SECONDS)


def _processes(root: Path) -> Iterator[tuple[psutil.Process, str]]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            environment = _environment(process)
            if environment.get(ROOT_VARIABLE) == str(root) and BUILD_VARIABLE in environment:
                yield process, environment[BUILD_VARIABLE]


def _environment(process: psutil.Process) -> dict[str, str]:
    """A process's environment, which cannot be read for a moment while it becomes another program."""
    until = time.monotonic() + _UNREADABLE_SECONDS
    # What has no program, such as a thread of the kernel, has no variables either.
    while not (found := process.environ()) and process.exe() and time.monotonic() < until:
        place = _place(process)
        # The same program before and after has none, or has written something else over them.
        if (found := process.environ()) or _place(process) == place != _NOWHERE:
            break
        time.sleep(_LOOK_SECONDS)
    return found


def _place(process: psutil.Process) -> list[str]:
    """Where the memory of a process has its variables, in another place for each program that it becomes."""
    try:
        fields = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return fields.rpartition(")")[2].split()[_VARIABLES]
