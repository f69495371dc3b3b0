"""Names of images in a Docker Engine's own store."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path

from builder.engines.docker_cli import Docker
from builder.engines.layered.images import DRAFTS, ENVIRONMENTS


def environment_name(key: str) -> str:
    """The image of an environment."""
    return f"{ENVIRONMENTS}:{key}"


def draft_name(root: Path, build_id: str) -> str:
    """The name of what a build has not finished."""
    return f"{DRAFTS}:{_owner(root)}-{build_id.lower()}"


async def drafts(docker: Docker, root: Path, alive: Collection[str]) -> list[str]:
    """Drafts of this data directory's builds other than `alive`."""
    kept = {draft_name(root, build_id) for build_id in alive}
    names = await docker.names(DRAFTS)
    return [name for name in names if name.startswith(f"{DRAFTS}:{_owner(root)}-") and name not in kept]


def _owner(root: Path) -> str:
    return hashlib.sha256(str(root).encode()).hexdigest()[:8]
