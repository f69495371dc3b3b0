"""A short way to a folder whose path is too long for the sockets in it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
from pathlib import Path

from bindery.errors import SessionFailed

_LINK = "s"
_ATTEMPTS = 10


class Shortcut:
    """A link to `target` in `path`, a private folder beside others of its kind.

    Who uses it holds a shared lock on the folder, which ends with the process: a folder that nobody holds is a leftover
    and is removed by the next to open one.
    """

    def __init__(self, path: Path, target: Path) -> None:
        self.path = path
        self._target = target
        self._descriptor: int | None = None

    @property
    def way(self) -> Path:
        """What leads to the target."""
        return self.path / _LINK

    def open(self) -> None:
        """Make it; remove those that nobody uses any more. Raises `SessionFailed` where somebody else has the place."""
        if self._descriptor is None:
            self._reap()
            self._descriptor = self._held()

    def close(self) -> None:
        """Remove it, unless somebody else uses it too."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
            _remove_unused(self.path)

    def _held(self) -> int:
        for _ in range(_ATTEMPTS):
            self.path.mkdir(mode=0o700, exist_ok=True)
            found = self.path.lstat()
            if not _is_ours(found) or found.st_mode & 0o077:
                break
            with contextlib.suppress(FileNotFoundError):
                descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
                fcntl.flock(descriptor, fcntl.LOCK_SH)
                if self._point() and os.path.samestat(os.fstat(descriptor), self.path.lstat()):
                    return descriptor
                os.close(descriptor)
        raise SessionFailed(f"{self.path} belongs to somebody else.", hint="Use a data directory with a shorter path.")

    def _point(self) -> bool:
        """Lead to the target; whether the folder is still there for it."""
        try:
            if not self.way.is_symlink():
                self.way.symlink_to(self._target)
        except FileExistsError:
            return True
        except FileNotFoundError:
            return False
        return True

    def _reap(self) -> None:
        kind = re.compile(re.escape(self.path.name.rpartition("-")[0]) + "-[0-9a-f]{12}")
        for folder in self.path.parent.iterdir():
            if kind.fullmatch(folder.name):
                _remove_unused(folder)


def _is_ours(found: os.stat_result) -> bool:
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()


def _remove_unused(folder: Path) -> None:
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            if _is_ours(os.fstat(descriptor)):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                (folder / _LINK).unlink(missing_ok=True)
                folder.rmdir()
        finally:
            os.close(descriptor)
