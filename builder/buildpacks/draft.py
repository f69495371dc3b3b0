"""What a buildpack contributes to a plan."""

from __future__ import annotations

from dataclasses import dataclass

from builder.plan import Install, Kind
from builder.pythons import Choice

#: Our own buildpack, for Python repositories; the others carry the names of repo2docker's classes.
UV = "uv"
NO_PYTHON = Choice("", "")


@dataclass(frozen=True)
class Draft:
    """A plan without what all kinds share. `decided_by` is the file that made the choice; "" when none was found."""

    kind: Kind
    buildpack: str
    decided_by: str
    python: Choice
    installs: tuple[Install, ...] = ()
    needs_tree: bool = False
    #: Whether apt.txt, postBuild and start count.
    extras: bool = True
