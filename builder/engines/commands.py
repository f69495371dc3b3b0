"""uv's command lines, the same wherever an environment is made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

#: As pip does: a package may come from any of the indexes a repository names.
_INDEXES = ("--index-strategy", "unsafe-best-match")
_EMIT = ("--emit-index-url", "--emit-find-links", "--emit-build-options")

Words = list[str | Path]


def create(python: Path, target: Path) -> Words:
    """Make `target` an empty virtual environment."""
    return ["venv", "--quiet", "--no-project", "--allow-existing", "--python", python, target]


def resolve(
    python: Path, lock: Path, inputs: Sequence[Path], constraints: Sequence[Path], overrides: Path | None
) -> Words:
    """Decide every version that the inputs need."""
    words: Words = ["pip", "compile", "--no-header", "--no-annotate", *_INDEXES, *_EMIT]
    words += ["--python", python, "-o", lock]
    words += [word for path in constraints for word in ("--constraints", path)]
    if overrides is not None:
        words += ["--overrides", overrides]
    return [*words, *inputs]


def install(python: Path, arguments: Sequence[str | Path], *, copy: bool) -> Words:
    """Install into the environment of `python`; `copy`: share no files with the cache."""
    mode = ["--link-mode=copy"] if copy else []
    return ["pip", "install", "--python", python, *mode, *_INDEXES, *arguments]


def export(python: Path, folder: Path, lock: Path) -> Words:
    """The uv.lock in `folder` as one that can be installed, without the project itself."""
    options: Words = ["--quiet", "--frozen", "--no-emit-project", "--format", "pylock.toml", "-o", lock]
    return ["export", *options, "--project", folder, "--python", python]


def freeze(python: Path) -> Words:
    """List what is installed in the environment of `python`, one a line."""
    return ["pip", "freeze", "--quiet", "--python", python]
