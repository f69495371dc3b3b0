"""The folder of one session: everything the process engine keeps of it."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bindery.errors import BinderyError, DiskFull, SessionFailed
from launcher.jupyter import write_page_settings, write_terminal_settings
from launcher.spawners.shortcut import Shortcut
from registry.directory import remove_tree

#: Longest path that a Unix socket may have here, in bytes.
MAX_SOCKET_BYTES = 103 if sys.platform == "darwin" else 107
#: What a log's end is read from, in bytes.
TAIL_BYTES = 256 * 1024
#: Longest name of a session.
MAX_NAME = 50

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@~-]*")


@dataclass(frozen=True)
class SessionFolder:
    """Where a session's files are.

    `repo` is the work tree and the home folder, `overlay` the session's own layer of the environment.
    """

    path: Path
    socket: Path
    #: Whether `/tmp` may be hidden behind `temporary`: not when the way to the socket leads through it.
    private_tmp: bool = True

    @property
    def repo(self) -> Path:
        return self.path / "repo"

    @property
    def overlay(self) -> Path:
        return self.path / "env"

    @property
    def config(self) -> Path:
        return self.path / "config"

    @property
    def log(self) -> Path:
        return self.path / "log"

    @property
    def runtime(self) -> Path:
        return self.path / "runtime"

    @property
    def temporary(self) -> Path:
        return self.path / "tmp"

    def make(self) -> None:
        """Make the folder, empty, for nobody but us."""
        for folder in (self.path, self.repo, self.runtime, self.config, self.temporary):
            folder.mkdir(mode=0o700)
        write_page_settings(self.config)
        write_terminal_settings(self.config)

    def tail(self, lines: int) -> str:
        """The log's last lines. The session can replace the file, so only a plain one is read."""
        try:
            descriptor = os.open(self.log, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return ""
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return ""
            start = max(file.seek(0, os.SEEK_END) - TAIL_BYTES, 0)
            file.seek(start)
            text = file.read(TAIL_BYTES).decode(errors="replace")
        return "".join(text.splitlines(keepends=True)[-lines:]) if lines > 0 else ""

    def remove(self) -> None:
        """Remove the folder, even what a visitor wrote-protected."""
        remove_tree(self.path)


class SessionFolders:
    """The folders of all sessions of one data directory."""

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir.absolute() / "sessions"
        digest = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:12]
        longest = len(os.fsencode(self.path)) + len("/") + MAX_NAME + len("/sock")
        #: A link that leads to the folders, in a folder of our own: only where the path of a socket would be too long.
        place = Path(tempfile.gettempdir()) / f"bindery-{os.getuid()}-{digest}"
        self._shortcut = Shortcut(place, self.path) if longest > MAX_SOCKET_BYTES else None

    @property
    def shortcut(self) -> Path | None:
        return None if self._shortcut is None else self._shortcut.path

    def open(self) -> None:
        """Make the folder that holds them all, and the way there."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._shortcut is not None:
            self._shortcut.open()

    def close(self) -> None:
        """Remove the way there, once no session runs."""
        if self._shortcut is not None:
            self._shortcut.close()

    def of(self, name: str) -> SessionFolder | None:
        """The folder of this name, whether it exists or not; None if no session can have the name."""
        if len(name) > MAX_NAME or not _NAME.fullmatch(name):
            return None
        way = self.path if self._shortcut is None else self._shortcut.way
        return SessionFolder(self.path / name, way / name / "sock", private_tmp=self._shortcut is None)

    @property
    def ways(self) -> tuple[Path, ...]:
        """What else a server has to see in order to find its socket."""
        return () if self.shortcut is None else (self.shortcut,)

    def names(self) -> list[str]:
        """The sessions that have a folder."""
        if not self.path.is_dir():
            return []
        return sorted(item.name for item in self.path.iterdir() if _NAME.fullmatch(item.name))


def copy_failed(reason: str) -> BinderyError:
    """The error that tells why a session's files could not be written."""
    if os.strerror(errno.ENOSPC) in reason or os.strerror(errno.EDQUOT) in reason:
        return DiskFull("There is no space left for the session's files.")
    return SessionFailed("The session's files could not be written.", hint=reason.strip()[-300:])
