"""The plan: what a build will do, decided before anything is done.

A plan is frozen, hashable and printable; a dry run prints it, a build carries it out.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """The family of dependency files that decides how an environment is made."""

    PYTHON = "python"
    PIPFILE = "pipfile"
    CONDA = "conda"
    R = "r"
    JULIA = "julia"
    NIX = "nix"
    DOCKERFILE = "dockerfile"


class Source(StrEnum):
    """Where an install step reads its requirements."""

    FILES = "files"  #: requirements files, paths in the tree
    TEXT = "text"  #: requirements that the planner rendered (Pipfile, poetry.lock, ...)
    UV_LOCK = "uv_lock"  #: uv.lock beside its pyproject.toml
    PYLOCK = "pylock"  #: pylock.toml (PEP 751)
    PROJECT = "project"  #: the repository itself is a package


@dataclass(frozen=True)
class Install:
    """One install step of a Python environment.

    `paths` are tree paths: requirements files (those that they include are in the plan's `files`), a lock, or the
    project's folder, "." for the root. `text` is the rendered requirements of a TEXT step, whose `paths` are files of
    constraints. Paths within requirements are relative to the root. `locked`: every version is decided, nothing may be
    added by resolution.
    """

    source: Source
    paths: tuple[str, ...] = ()
    text: str = ""
    locked: bool = False


@dataclass(frozen=True)
class PlanContext:
    """What an engine brings to a plan: everything outside of the repository that an environment depends on."""

    #: Version of the rules by which environments are made; part of every key.
    builder_version: str
    #: Identity of what lies below the environment: interpreter build and platform, or a runtime image's digest.
    runtime: str
    #: The Python that a repository gets which does not ask for one, as "3.12".
    default_python: str
    #: Pythons that can be had here, as "3.12", best first; empty: not known before the build.
    available_pythons: tuple[str, ...] = ()

    @property
    def identity(self) -> str:
        """Equal exactly where a repository's plan comes out the same and stands on the same ground."""
        return f"{self.builder_version}/{self.runtime}/{self.default_python}"


@dataclass(frozen=True)
class Plan:
    """What a build will do.

    `files` are the dependency files read, as tree paths; the one that decided the kind comes first. `needs_tree`: the
    environment cannot be made without the repository's other files, so it cannot be shared by commits. `warnings` are
    sentences for the author.
    """

    kind: Kind
    buildpack: str
    python: str
    python_reason: str
    config_folder: str
    files: tuple[str, ...]
    apt: tuple[str, ...]
    installs: tuple[Install, ...]
    needs_tree: bool
    post_build: str | None
    start: str | None
    warnings: tuple[str, ...]
    environment_key: str

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain values, for JSON."""
        return asdict(self)

    def to_json(self) -> str:
        """The plan as one JSON object; `from_json` reads it back."""
        return json.dumps(self.to_dict(), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Read what `to_json` wrote."""
        fields: dict[str, Any] = json.loads(text)
        fields["kind"] = Kind(fields["kind"])
        fields["installs"] = tuple(
            Install(Source(step["source"]), tuple(step["paths"]), step["text"], step["locked"])
            for step in fields["installs"]
        )
        for name in ("files", "apt", "warnings"):
            fields[name] = tuple(fields[name])
        return cls(**fields)
