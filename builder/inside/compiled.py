"""Bytecode for an environment of an image: copied where the same file was compiled before, compiled otherwise.

A program for the environment's own Python (3.8 or later; standard library only):
`python -I -S compiled.py SITE_PACKAGES CACHE`. Sources are named by their path and content, so what one build compiled
serves all that have the cache. No code of the environment is run.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import py_compile
import sys
from concurrent.futures import ProcessPoolExecutor

_CHUNK = 40
#: Magic number, flags, time and size of the source.
_HEADER = 16


def main(packages: str, cache: str) -> None:
    folder = os.path.join(cache, sys.implementation.cache_tag or "other")  # noqa: PTH118
    missing = [task for task in _tasks(packages, folder) if not _take(*task)]
    chunks = [missing[start : start + _CHUNK] for start in range(0, len(missing), _CHUNK)]
    if len(chunks) < 2:
        for chunk in chunks:
            _compile(chunk)
        return
    with ProcessPoolExecutor() as pool:
        list(pool.map(_compile, chunks))


def _tasks(packages: str, cache: str) -> list[tuple[str, str, str]]:
    """For each source file without its bytecode: its path, its bytecode's path, and its place in the cache."""
    tasks = []
    for folder, _, names in os.walk(packages):
        for name in names:
            source = os.path.join(folder, name)  # noqa: PTH118
            if name.endswith(".py") and not os.path.islink(source):  # noqa: PTH114
                with contextlib.suppress(OSError, ValueError):
                    target = importlib.util.cache_from_source(source)
                    if _read(target, _HEADER) != _header(source):
                        tasks.append((source, target, _place(source, cache)))
    return tasks


def _place(source: str, cache: str) -> str:
    digest = hashlib.sha256(source.encode("utf-8", "surrogateescape") + b"\0" + _read(source)).hexdigest()
    return os.path.join(cache, digest[:2], digest)  # noqa: PTH118


def _header(source: str) -> bytes:
    status = os.stat(source)  # noqa: PTH116
    numbers = (0, int(status.st_mtime) & 0xFFFFFFFF, status.st_size & 0xFFFFFFFF)
    return importlib.util.MAGIC_NUMBER + b"".join(number.to_bytes(4, "little") for number in numbers)


def _take(source: str, target: str, place: str) -> bool:
    """Take the bytecode from the cache, with the header that this copy of the source asks for."""
    code = _read(place)
    if not code:
        return False
    try:
        _write(target, _header(source) + code)
    except OSError:
        return False
    return True


def _compile(tasks: list[tuple[str, str, str]]) -> None:
    for source, target, place in tasks:
        with contextlib.suppress(OSError, ValueError, SyntaxError, RecursionError, py_compile.PyCompileError):
            mode = py_compile.PycInvalidationMode.TIMESTAMP
            py_compile.compile(source, target, doraise=True, quiet=2, invalidation_mode=mode)
            _write(place, _read(target)[_HEADER:])


def _read(path: str, limit: int = -1) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return file.read(limit)
    except FileNotFoundError:
        return b""


def _write(path: str, data: bytes) -> None:
    draft = f"{path}.{os.getpid()}"
    try:
        _write_new(draft, data)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
        _write_new(draft, data)
    os.replace(draft, path)  # noqa: PTH105


def _write_new(path: str, data: bytes) -> None:
    with open(path, "wb") as file:  # noqa: PTH123
        file.write(data)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
