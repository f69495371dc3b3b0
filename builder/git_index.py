"""Git's index of a work tree that nobody has checked out: with it, `git status` need not read the files."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Collection, Iterable

from registry.git_tree import SUBMODULE, GitEntry

_HEADER = struct.Struct(">4sLL")
#: Times of change, device, inode, mode, owner and size: Git's own names are ctime, mtime, dev, ino, mode, uid, gid.
_FACTS = struct.Struct(">10L20sH")
_LONGEST_NAME = 0xFFF
_EXTENDED, _SKIP_WORKTREE = 0x4000, 0x4000


def git_index(entries: Iterable[GitEntry], modified: int, owner: int, left_out: Collection[bytes] = ()) -> bytes:
    """The index of files that were all changed at `modified`; those `left_out` are not in the work tree, on purpose.

    The index's own file has to be younger than that, or Git mistrusts it.
    """
    rows = [_entry(entry, modified, owner, entry.path in left_out) for entry in sorted(entries, key=_path)]
    # Only from version 3 on has an entry flags of the second kind.
    index = _HEADER.pack(b"DIRC", 3 if left_out else 2, len(rows)) + b"".join(rows)
    return index + hashlib.sha1(index, usedforsecurity=False).digest()


def _path(entry: GitEntry) -> bytes:
    return entry.path


def _entry(entry: GitEntry, modified: int, owner: int, left_out: bool) -> bytes:
    size = 0 if entry.mode == SUBMODULE else entry.size & 0xFFFFFFFF
    mode, flags = int(entry.mode, 8), min(len(entry.path), _LONGEST_NAME) | (_EXTENDED if left_out else 0)
    times = (modified, 0, modified, 0)
    row = _FACTS.pack(*times, 0, 0, mode, owner, owner, size, bytes.fromhex(entry.object_id.decode()), flags)
    row += _SKIP_WORKTREE.to_bytes(2) if left_out else b""
    row += entry.path
    return row + bytes(8 - len(row) % 8)
