"""Images of ours: their names, their labels, and what an environment says of itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bindery import __version__
from bindery.errors import InternalError
from builder.engines.base import BuildJob, EnvironmentInfo
from builder.engines.content import without_login
from builder.engines.layered.making import ImageMaker

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
    return {
        KEY: key,
        "bindery.version": __version__,
        _JOINED: json.dumps(bool(facts["joined"])),
        _APT: json.dumps(facts.get("apt", [])),
        _LOCK: json.dumps(str(facts["lock"]).splitlines()),
    }


def environment_facts(files: Mapping[str, bytes]) -> dict[str, Any]:
    """What making an environment told of it, in its image's files."""
    if (data := files.get(FACTS)) is not None:
        facts: dict[str, Any] = json.loads(data)
        return facts
    if (lock := files.get(LOCK)) is not None:
        return {"lock": lock.decode(errors="replace"), "joined": True}
    raise InternalError("The environment does not say what it is.")


async def environment_info(maker: ImageMaker, key: str) -> EnvironmentInfo | None:
    """An environment that is ready for use, if it is there."""
    name = maker.name(ENVIRONMENTS, key)
    image = await maker.image(name)
    if image is None:
        return None
    joined = image.labels.get(_JOINED, "true") == "true"
    if (text := image.labels.get(_LOCK)) is not None:
        lock = "".join(f"{line}\n" for line in json.loads(text))
    else:
        found = {path: await maker.read_file(name, path) for path in (FACTS, LOCK)}
        lock = str(environment_facts({path: data for path, data in found.items() if data is not None})["lock"])
    return EnvironmentInfo(key, image.created_at, lock, joined, image.size_bytes)
