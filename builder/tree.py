"""A commit's files as the planner sees them: names, modes and sizes, and the text of a few."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


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
    listed. `read_object` gives the content of an object id, of at most `limit` bytes.
    """

    entries: Mapping[str, Entry]
    read_object: Callable[[str, int], bytes]
    #: Git's id of the whole tree.
    object_id: str
