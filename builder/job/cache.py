"""A folder of the node where builds keep layers for the builds that come after them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: Above this part of the disk that is taken, the folder is emptied.
FULL = 0.8


@dataclass
class Turn:
    """A Job's use of the folder. While it is `alone` no other Job begins: `share` lets them."""

    folder: Path
    descriptor: int
    alone: bool

    def share(self) -> None:
        """Go on together with others."""
        fcntl.flock(self.descriptor, fcntl.LOCK_SH)
        self.alone = False

    @property
    def is_full(self) -> bool:
        """Whether it is time to empty the folder."""
        usage = shutil.disk_usage(self.folder)
        return usage.used > FULL * (usage.used + usage.free)


@contextlib.contextmanager
def used(folder: Path) -> Iterator[Turn]:
    """Use the folder while the block runs: alone at first where no other Job uses it, else together with those."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / "users.lock", os.O_CREAT | os.O_RDWR, 0o644)
    try:
        turn = Turn(folder, descriptor, alone=True)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            turn.share()
        yield turn
    finally:
        os.close(descriptor)
