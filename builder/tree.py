"""A commit's files as the planner sees them: names, modes and sizes, and the text of a few."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

REGULAR_MODES = frozenset({"100644", "100755"})
SYMLINK_MODE = "120000"
SUBMODULE_MODE = "160000"

MAX_LINK_BYTES = 4096
MAX_LINK_HOPS = 40


@dataclass(frozen=True)
class Entry:
    """One tracked file: its Git mode ("100644", "100755", "120000", "160000"), object id and size in bytes."""

    mode: str
    object_id: str
    size: int


@dataclass(frozen=True)
class Tree:
    """A commit's listing, and a way to read one object.

    `entries` maps the path of every file, with `/` as separator and without a leading one; folders are not
    listed. `read_object` gives the content of an object id, of at most `limit` bytes. Symbolic links are followed
    only within the tree; what lies in a submodule is not there.
    """

    entries: Mapping[str, Entry]
    read_object: Callable[[str, int], bytes]
    #: Says Git's id of the whole tree.
    identify: Callable[[], str]

    @cached_property
    def object_id(self) -> str:
        """Git's id of the whole tree; finding that out takes a moment."""
        return self.identify()

    @cached_property
    def folders(self) -> frozenset[str]:
        """The paths of all folders; the root is ""."""
        found = {""}
        for path in self.entries:
            folder = path.rpartition("/")[0]
            while folder not in found:
                found.add(folder)
                folder = folder.rpartition("/")[0]
        return frozenset(found)

    def resolve(self, path: str) -> str | None:
        """The real path of a file or folder; None when there is none, or its links lead out of the tree."""
        place, there = self._follow(path)
        return place if there else None

    def leads_out(self, path: str) -> bool:
        """Whether a path leads out of the tree by its links, or in circles; there need be nothing at its end."""
        return self._follow(path)[0] is None

    def _follow(self, path: str) -> tuple[str | None, bool]:
        """Where a path leads, None when that is out of the tree; and whether something is there."""
        pending, done, hops, there = path.split("/")[::-1], list[str](), 0, True
        while pending:
            part = pending.pop()
            if part in ("", "."):
                continue
            if part == "..":
                if not done:
                    return None, False
                done.pop()
                continue
            done.append(part)
            here = "/".join(done)
            entry = self.entries.get(here)
            if entry is not None and entry.mode == SYMLINK_MODE:
                target, hops = self._link(entry), hops + 1
                if target.startswith("/") or hops > MAX_LINK_HOPS:
                    return None, False
                done.pop()
                pending.extend(target.split("/")[::-1])
            elif here not in self.folders and (entry is None or any(pending)):
                there = False
        return "/".join(done), there

    def is_file(self, path: str) -> bool:
        """Whether a regular file is at `path`."""
        entry = self._entry(path)
        return entry is not None and entry.mode in REGULAR_MODES

    def is_folder(self, path: str) -> bool:
        """Whether a folder is at `path`; a submodule's place is one, without anything in it."""
        resolved = self.resolve(path)
        return resolved is not None and (resolved in self.folders or self.is_submodule(resolved))

    def is_submodule(self, path: str) -> bool:
        """Whether a submodule is at `path`."""
        entry = self._entry(path)
        return entry is not None and entry.mode == SUBMODULE_MODE

    def in_submodule(self, path: str) -> bool:
        """Whether `path` is in a submodule, or is one."""
        parts = path.split("/")
        return any(self.is_submodule("/".join(parts[: end + 1])) for end in range(len(parts)))

    def size(self, path: str) -> int:
        """Size in bytes of the regular file at `path`; raises `KeyError` when there is none."""
        return self._regular(path).size

    def read(self, path: str, limit: int) -> bytes:
        """Content of the regular file at `path`, of at most `limit` bytes; raises `KeyError` when there is none."""
        return self.read_object(self._regular(path).object_id, limit)

    def _regular(self, path: str) -> Entry:
        entry = self._entry(path)
        if entry is None or entry.mode not in REGULAR_MODES:
            raise KeyError(path)
        return entry

    def _entry(self, path: str) -> Entry | None:
        resolved = self.resolve(path)
        return None if resolved is None else self.entries.get(resolved)

    def _link(self, entry: Entry) -> str:
        return self.read_object(entry.object_id, MAX_LINK_BYTES).decode(errors="surrogateescape")
