"""The data directory: one service at a time, and how others on this machine find it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from bindery.errors import AlreadyRunning, DiskFull


@dataclass(frozen=True)
class Announcement:
    """A running service: its address, its process, and the token that lets its operator do more than visitors."""

    url: str
    pid: int
    token: str


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Make the folder if need be, and hold it for this process; raises `AlreadyRunning` if another one does.

    The lock is the kernel's: it ends with the process, however that ends.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DiskFull(
            f"The data directory {folder} cannot be used: {error.strerror}.",
            hint="Give another one with --data-dir.",
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        known = announced(folder)
        where = f" at {known.url} (process {known.pid})" if known else ""
        raise AlreadyRunning(
            f"Another Bindery uses {folder}{where}.", hint="Use that one, stop it, or give another --data-dir."
        ) from None
    else:
        yield
    finally:
        os.close(descriptor)


def new_token() -> str:
    """A token for one run of the service."""
    return secrets.token_urlsafe(24)


@contextlib.contextmanager
def announce(folder: Path, announcement: Announcement) -> Iterator[None]:
    """Tell other programs of this user where the service is, while the block runs."""
    path = folder / "service.json"
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(announcement), file)
    fresh.rename(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def announced(folder: Path) -> Announcement | None:
    """What the folder's service, if one runs or was killed, said of itself."""
    try:
        return Announcement(**json.loads((folder / "service.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None
