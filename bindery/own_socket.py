"""The way to a Unix socket that a stranger's program made, and may have replaced."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator


@contextlib.contextmanager
def own_socket(path: str) -> Iterator[str]:
    """The path, if a socket of our user is there, and no link to another program's: sessions can replace theirs.

    Where the system can, what the path names afterwards does not matter any more. Raises `OSError` if there is none.
    """
    if not hasattr(os, "O_PATH"):
        _check(os.lstat(path), path)
        yield path
        return
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _check(os.fstat(descriptor), path)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _check(found: os.stat_result, path: str) -> None:
    if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.getuid():
        raise ConnectionRefusedError(errno.ECONNREFUSED, "not a socket of ours", path)
