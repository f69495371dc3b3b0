"""What a person types for a repository on the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bindery.errors import InvalidSpec, RepositoryNotFound
from web.links import Target, launch_path
from web.pasted import matches, recognise


def read(text: str, ref: str, path: str, displays: Sequence[Mapping[str, Any]]) -> Target:
    """A folder of this machine, else whatever the web form would recognise; `ref` and `path` win over the text's own.

    Raises `RepositoryNotFound` for a folder that does not exist, or is no Git repository, `InvalidSpec` for a text that
    names nothing.
    """
    folder = Path(text).expanduser()
    if text.startswith(("/", "./", "../", "~")) and not folder.is_dir():
        raise RepositoryNotFound(f"There is no folder {text} on this machine.", hint="Check the path.")
    target = Target("git", _local(folder)) if folder.is_dir() else _recognised(text, displays)
    return Target(
        target.provider,
        target.repo,
        ref or target.ref or "HEAD",
        path or target.path,
        "file" if path else target.open_as,
    )


def _recognised(text: str, displays: Sequence[Mapping[str, Any]]) -> Target:
    target = recognise(text, displays)
    display = _display(target, displays)
    if not matches(display["spec"]["validateRegex"], spec(replace(target, ref=target.ref or "HEAD"), displays)):
        raise InvalidSpec(
            f"“{text}” is no folder here, and not a repository's address or an owner/name.",
            hint="Give a folder's path, the address of a repository or of one of its pages, a DOI, or owner/name.",
        )
    return target


def spec(target: Target, displays: Sequence[Mapping[str, Any]]) -> str:
    """The target as the provider's own notation."""
    if target.provider == "git":
        return f"{quote(target.repo, safe='')}/{quote(target.ref, safe='/')}"
    return launch_path(target, _display(target, displays)).split("?")[0].removeprefix(f"v2/{target.provider}/")


def _display(target: Target, displays: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    return next(display for display in displays if display["id"] == target.provider)


def _local(folder: Path) -> str:
    root = folder.resolve()
    if not (root / ".git").exists() and not (root / "HEAD").is_file():
        raise RepositoryNotFound(
            f"{folder} is a folder, but not a Git repository.",
            hint="Run git init, git add and git commit in it first: Bindery launches commits.",
        )
    return root.as_uri()
