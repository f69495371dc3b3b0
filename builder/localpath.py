"""Paths in requirements that name something in the repository itself."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from urllib.parse import unquote

from builder.reading import MAX_WORD, shown
from builder.tree import Tree

_EXTRAS = re.compile(r"\[[^\]]*\]$")
_PROJECT_FILES = ("pyproject.toml", "setup.py")


@dataclass(frozen=True)
class Problem:
    """What is wrong with a path, and the cure."""

    text: str
    hint: str


def check_local(tree: Tree, value: str, *, buildable: bool = False) -> Problem | None:
    """Why a path cannot be installed from; None when it can. `buildable`: a folder must be a Python project."""
    path = local_path(value)
    if path is None:
        hint = "Name packages by version (pip list --format=freeze writes such a list), or by a path in the repository."
        return Problem("names a file outside of the repository", hint)
    if tree.in_submodule(path):
        return None
    if tree.is_file(path):
        return None
    if not tree.is_folder(path):
        return Problem("names a file that the repository does not have", f"Add {shown(path)}, or remove the line.")
    if buildable and not any(tree.is_file(posixpath.join(path, name)) for name in _PROJECT_FILES):
        hint = f"Add a pyproject.toml or a setup.py to {shown(path or 'the root')}, or remove the line."
        return Problem("names a folder that is no Python project", hint)
    return None


def local_path(value: str) -> str | None:
    """The path in the tree that a local requirement names ("" is the root); None when it is outside."""
    if len(value) > MAX_WORD:
        return None
    bare = re.split(r"\s*;|\s|#", value.strip().strip("\"'"), maxsplit=1)[0]
    bare = _EXTRAS.sub("", unquote(bare.removeprefix("file:")))
    path = posixpath.normpath(bare)
    if not bare or path == ".." or path.startswith(("/", "~", "../")):
        return None
    return "" if path == "." else path
