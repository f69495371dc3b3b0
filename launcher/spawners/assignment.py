"""What one server is told: everything that follows from the request, the image and the session's folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bindery.sandbox import inherited
from launcher import jupyter
from launcher.spawners.base import SessionRequest
from launcher.spawners.folder import SessionFolder
from launcher.spawners.leftovers import MARK
from registry.directory import StoredImage
from registry.overlay import Overlay


@dataclass(frozen=True)
class Assignment:
    """A server's arguments (`flags`) and variables. `lower` are the environments below the session's overlay."""

    flags: tuple[str, ...]
    environment: Mapping[str, str]
    lower: tuple[Path, ...]


def assign(
    request: SessionRequest, image: StoredImage, folder: SessionFolder, *, allow_origins: Sequence[str]
) -> Assignment:
    """Decide what a server is told."""
    lower = (*((image.overlay,) if image.overlay else ()), image.environment)
    flags = jupyter.arguments(
        socket=str(folder.socket),
        base_url=request.base_url,
        work_tree=folder.repo,
        config=folder.config,
        allow_origins=allow_origins,
    )
    return Assignment(tuple(flags), _environment(request, image, folder, lower), lower)


def command(assignment: Assignment, image: StoredImage, folder: SessionFolder) -> list[str]:
    """The command of a plain start; the repository's files are in place."""
    if image.joined:
        python, prefixes = Overlay(folder.overlay, assignment.lower).python, assignment.lower
    else:
        python, prefixes = image.server / "bin" / "python", (image.server,)
    words = jupyter.command(python, prefixes, assignment.flags)
    return jupyter.under_start_script(folder.repo / image.start, words) if image.start else words


def _environment(
    request: SessionRequest, image: StoredImage, folder: SessionFolder, lower: tuple[Path, ...]
) -> dict[str, str]:
    base = inherited(os.environ)
    overlay = Overlay(folder.overlay, lower)
    prefixes = (folder.overlay, *lower)
    files = jupyter.variables(
        token=request.token, home=folder.repo, config=folder.config, runtime=folder.runtime, prefixes=prefixes
    )
    return {
        **base,
        "HOME": str(folder.repo),
        "REPO_DIR": str(folder.repo),
        "TMPDIR": str(folder.temporary),
        "SHELL": jupyter.shell(),
        **overlay.variables(os.pathsep.join([str(image.server / "bin"), base["PATH"]])),
        **files,
        **(jupyter.joined_variables(folder.repo, prefixes) if image.joined else {}),
        **request.environment,
        MARK: request.name,
    }
