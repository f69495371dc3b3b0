"""Names of images in a Docker Engine's own store."""

from __future__ import annotations

import hashlib
from pathlib import Path

from builder.engines.docker_cli import Docker
from builder.engines.layered.images import DRAFTS, ENVIRONMENTS


def environment_name(key: str) -> str:
    """The image of an environment."""
    return f"{ENVIRONMENTS}:{key}"


def draft_name(root: Path, build_id: str) -> str:
    """The name of what a build has not finished."""
    return f"{DRAFTS}:{_owner(root)}-{build_id.lower()}"


async def drafts(docker: Docker, root: Path) -> set[str]:
    """Drafts of this data directory's builds."""
    return {name for name in await docker.names(DRAFTS) if name.startswith(f"{DRAFTS}:{_owner(root)}-")}


def _owner(root: Path) -> str:
    return hashlib.sha256(str(root).encode()).hexdigest()[:8]
