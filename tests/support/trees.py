"""Trees in memory, for the planner's tests."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from builder.detect import plan
from builder.plan import Plan, PlanContext
from builder.tree import Entry, Tree

Files = Mapping[str, str | bytes]

CONTEXT = PlanContext(builder_version="1", runtime="cpython-3.11-linux", default_python="3.11")


class Link(str):
    """The target of a symbolic link."""


class Executable(str):
    """The text of a file that may be run."""


class Submodule(str):
    """The commit of a submodule."""


def tree_of(files: Files) -> Tree:
    """A tree of these files; the kinds of text above choose their modes."""
    objects: dict[str, bytes] = {}
    entries: dict[str, Entry] = {}
    for path, content in files.items():
        data = content.encode() if isinstance(content, str) else content
        object_id = hashlib.sha1(data, usedforsecurity=False).hexdigest()
        objects[object_id] = data
        entries[path] = Entry(_mode(content), object_id, len(data))
    listing = repr(sorted((path, entry.mode, entry.object_id) for path, entry in entries.items()))
    object_id = hashlib.sha1(listing.encode(errors="surrogateescape"), usedforsecurity=False).hexdigest()
    return Tree(entries, lambda name, limit: objects[name][:limit], lambda: object_id)


def plan_of(files: Files, *, default: str = "3.11", available: tuple[str, ...] = ()) -> Plan:
    """The plan of these files."""
    return plan(tree_of(files), PlanContext("1", "cpython-3.11-linux", default, available))


def _mode(content: str | bytes) -> str:
    match content:
        case Link():
            return "120000"
        case Submodule():
            return "160000"
        case Executable():
            return "100755"
        case _:
            return "100644"
