"""Images of the docker engine: their names, their labels, and what an environment says of itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from bindery import __version__
from bindery.errors import InternalError
from builder.dockerfile import MAX_VALUE
from builder.engines.base import BuildJob, EnvironmentInfo
from builder.engines.content import without_login
from builder.engines.docker_cli import Docker, Image
from builder.engines.docker_files import read_file

ENVIRONMENTS = "bindery/environment"
#: Where an environment is in its image, and what it says of itself.
ENVIRONMENT = "/srv/env"
FACTS = f"{ENVIRONMENT}/bindery.json"
#: What is installed in an image whose environment repo2docker's scripts made.
LOCK = "/srv/bindery.lock"
DRAFTS = "bindery/draft"

SOURCE = "org.opencontainers.image.source"
REVISION = "org.opencontainers.image.revision"
KEY = "bindery.environment"
_LOCK = "bindery.lock"
_JOINED = "bindery.joined"
_APT = "bindery.apt"


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


def image_labels(job: BuildJob) -> dict[str, str]:
    """Where an image comes from."""
    source = without_login(job.repo_url)
    return {
        SOURCE: source,
        REVISION: job.commit,
        KEY: job.plan.environment_key,
        "bindery.version": __version__,
        "repo2docker.repo": source,
        "repo2docker.ref": job.commit,
    }


def environment_labels(key: str, facts: Mapping[str, Any]) -> dict[str, str]:
    """What an environment's image says without being started."""
    labels = {
        KEY: key,
        "bindery.version": __version__,
        _JOINED: json.dumps(bool(facts["joined"])),
        _APT: json.dumps(facts.get("apt", [])),
        _LOCK: json.dumps(str(facts["lock"]).splitlines()),
    }
    return {name: text for name, text in labels.items() if len(text) <= MAX_VALUE}


async def environment_facts(docker: Docker, image: str) -> dict[str, Any]:
    """What making an environment told of it, in its image."""
    data = await read_file(docker, image, FACTS)
    if data is None and (lock := await read_file(docker, image, LOCK)) is not None:
        return {"lock": lock.decode(errors="replace"), "joined": True}
    if data is None:
        raise InternalError(f"The environment {image} does not say what it is.")
    facts: dict[str, Any] = json.loads(data)
    return facts


async def environment_info(docker: Docker, key: str, image: Image) -> EnvironmentInfo:
    """An environment that is ready for use."""
    joined = image.labels.get(_JOINED, "true") == "true"
    if (text := image.labels.get(_LOCK)) is not None:
        lock = "".join(f"{line}\n" for line in json.loads(text))
    else:
        lock = str((await environment_facts(docker, environment_name(key)))["lock"])
    return EnvironmentInfo(key, image.created_at, lock, joined, image.size_bytes)


def _owner(root: Path) -> str:
    return hashlib.sha256(str(root).encode()).hexdigest()[:8]
