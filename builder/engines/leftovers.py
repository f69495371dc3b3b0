"""Processes and files that builds of an earlier service left behind."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from pathlib import Path

import psutil

from builder.engines.uv import BUILD_VARIABLE, ROOT_VARIABLE
from registry.directory import remove_tree

_END_SECONDS = 5.0


def end_processes(root: Path, running: Collection[str]) -> int:
    """End all processes of builds in the data directory `root` other than `running`; return how many there were."""
    found = [process for process in psutil.process_iter() if _belongs(process, str(root), running)]
    for process in found:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(found, timeout=_END_SECONDS)
    return len(found)


def _belongs(process: psutil.Process, root: str, running: Collection[str]) -> bool:
    try:
        environment = process.environ()
    except (psutil.Error, OSError):
        return False
    build = environment.get(BUILD_VARIABLE)
    return build is not None and build not in running and environment.get(ROOT_VARIABLE) == root


def remove_scratch(builds: Path, running: Collection[str]) -> None:
    """Remove the folders of builds other than `running`."""
    if builds.is_dir():
        for folder in builds.iterdir():
            if folder.name not in running:
                remove_tree(folder)
