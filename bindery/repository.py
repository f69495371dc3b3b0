"""What a person types for a repository on the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bindery.errors import RepositoryNotFound
from web.links import Target, launch_path
from web.pasted import recognise


def read(text: str, ref: str, path: str, displays: Sequence[Mapping[str, Any]]) -> Target:
    """A folder of this machine, else whatever the web form would recognise; `ref` and `path` win over the text's own.

    Raises `RepositoryNotFound` for a folder that does not exist, or is no Git repository.
    """
    folder = Path(text).expanduser()
    if text.startswith(("/", "./", "../", "~")) and not folder.is_dir():
        raise RepositoryNotFound(f"There is no folder {text} on this machine.", hint="Check the path.")
    target = Target("git", _local(folder)) if folder.is_dir() else recognise(text, displays)
    return Target(
        target.provider,
        target.repo,
        ref or target.ref or "HEAD",
        path or target.path,
        "file" if path else target.open_as,
    )


def spec(target: Target, displays: Sequence[Mapping[str, Any]]) -> str:
    """The target as the provider's own notation."""
    if target.provider == "git":
        return f"{quote(target.repo, safe='')}/{quote(target.ref, safe='/')}"
    display = next(display for display in displays if display["id"] == target.provider)
    return launch_path(target, display).split("?")[0].removeprefix(f"v2/{target.provider}/")


def _local(folder: Path) -> str:
    root = folder.resolve()
    if not (root / ".git").exists() and not (root / "HEAD").is_file():
        raise RepositoryNotFound(
            f"{folder} is a folder, but not a Git repository.",
            hint="Run git init, git add and git commit in it first: Bindery launches commits.",
        )
    return root.as_uri()
