"""Bytecode for an environment: linked from earlier environments where they share a source file, compiled otherwise.

A program for the environment's own Python (3.8 or later; standard library only):
`python -I -S bytecode.py SITE_PACKAGES CACHE`. Environments share source files by hard links, so a file's identity in
the file system names its bytecode; Python itself compares time and size again when it reads it. No code of the
environment is run.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import py_compile
import stat
import sys
from concurrent.futures import ProcessPoolExecutor

_CHUNK = 40


def main(packages: str, cache: str) -> None:
    folder = os.path.join(cache, sys.implementation.cache_tag or "other")  # noqa: PTH118
    missing = [task for task in _tasks(packages, folder) if not _link(task[2], task[1])]
    chunks = [missing[start : start + _CHUNK] for start in range(0, len(missing), _CHUNK)]
    if len(chunks) < 2:
        for chunk in chunks:
            _compile(chunk)
        return
    with ProcessPoolExecutor() as pool:
        list(pool.map(_compile, chunks))


def _tasks(packages: str, cache: str) -> list[tuple[str, str, str]]:
    """For each source file: its path, its bytecode's path, and its place in the cache; "" when it has none."""
    tasks = []
    for folder, _, names in os.walk(packages):
        for name in names:
            if name.endswith(".py"):
                source = os.path.join(folder, name)  # noqa: PTH118
                with contextlib.suppress(OSError, ValueError):
                    tasks.append((source, importlib.util.cache_from_source(source), _place(source, cache)))
    return tasks


def _place(source: str, cache: str) -> str:
    status = os.lstat(source)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("no plain file: reading it could wait for ever")
    if status.st_nlink < 2:
        return ""
    name = f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"
    return os.path.join(cache, name[-2:], name)  # noqa: PTH118


def _link(present: str, wanted: str) -> bool:
    if not present or not wanted:
        return False
    try:
        os.link(present, wanted)
    except FileNotFoundError:
        if not os.path.exists(present):  # noqa: PTH110
            return False
        os.makedirs(os.path.dirname(wanted), exist_ok=True)  # noqa: PTH103, PTH120
        return _link(present, wanted)
    except FileExistsError:
        return True
    except OSError:
        return False
    return True


def _compile(tasks: list[tuple[str, str, str]]) -> None:
    for source, target, place in tasks:
        with contextlib.suppress(OSError, ValueError, SyntaxError, RecursionError, py_compile.PyCompileError):
            py_compile.compile(source, target, doraise=True, quiet=2)
            _link(target, place)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
