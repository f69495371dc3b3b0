"""Files in folders that programs of strangers could write to: never what a link leads to, never a pipe."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

#: Most that is read of one file, in bytes.
MAX_BYTES = 16 * 1024 * 1024


def read_plain(path: Path, limit: int = MAX_BYTES) -> bytes:
    """The first `limit` bytes of a plain file; raises `OSError` for anything else, without waiting for it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a plain file", str(path))
        return file.read(limit)


def read_plain_text(path: Path) -> str:
    """The text of a plain file; raises `OSError` for anything else."""
    return read_plain(path).decode("utf-8", errors="replace")


def write_plain(path: Path, text: str, *, durable: bool = False) -> None:
    """Write a new file in place of whatever has this name; a folder of this name raises `OSError`."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        if durable:
            file.flush()
            os.fsync(descriptor)
