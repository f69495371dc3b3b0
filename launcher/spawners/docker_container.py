"""What a session's container is: a pure function of the request and the settings."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bindery.settings import SessionSettings
from launcher.jupyter import networked_arguments
from launcher.serving import PORT, serving
from launcher.spawners.base import SessionRequest
from launcher.spawners.leftovers import MARK

SESSION_LABEL = "io.bindery.session"
DATA_LABEL = "io.bindery.data"
DESCRIPTION_LABEL = "io.bindery.description"
#: The user of images that name none, as on Binder: never root.
USER = "1000:1000"
#: Longest name of a session.
MAX_NAME = 60

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_ROOT = re.compile(r"(root|0+)?(:.*)?")
_CPU_PERIOD = 100_000


@dataclass(frozen=True)
class Place:
    """Where containers are put: whose they are, in which network, with which variables."""

    instance: str
    network: str
    #: Listen on a port of this machine's loopback address, for engines whose networks it cannot reach.
    published: bool
    allow_origins: Sequence[str]
    environment: Mapping[str, str]


def container_name(session: str) -> str | None:
    """The name of a session's container; None if no session can have the name."""
    return f"bindery-{session}" if len(session) <= MAX_NAME and _NAME.fullmatch(session) else None


def user(image: Mapping[str, Any]) -> str:
    """Who an image's server runs as: its own user, unless that is root."""
    named = str(image["Config"].get("User") or "")
    return USER if _ROOT.fullmatch(named) else named


def describe(request: SessionRequest, place: Place, limits: SessionSettings, *, as_user: str) -> dict[str, Any]:
    """The engine's description of a container. The image's entrypoint stays, and gets the server as its words."""
    flags = networked_arguments(port=PORT, base_url=request.base_url, allow_origins=place.allow_origins)
    port = f"{PORT}/tcp"
    variables = {
        **place.environment,
        **request.environment,
        "JUPYTER_TOKEN": request.token,
        MARK: request.name,
    }
    description = {
        "Image": request.image,
        "User": as_user,
        "Cmd": serving(flags),
        "Env": [f"{name}={value}" for name, value in variables.items()],
        "ExposedPorts": {port: {}},
        "HostConfig": {
            **_limits(limits, request),
            "NetworkMode": place.network,
            "PortBindings": {port: [{"HostIp": "127.0.0.1", "HostPort": ""}]} if place.published else {},
        },
    }
    labels = {SESSION_LABEL: request.name, DATA_LABEL: place.instance, DESCRIPTION_LABEL: _digest(description)}
    return {**description, "Labels": labels}


def fits(found: Mapping[str, Any], description: Mapping[str, Any]) -> bool:
    """Whether a container need not be made again: it runs, or was made from the same words and never ran."""
    state = found["State"]
    same = found["Config"]["Labels"].get(DESCRIPTION_LABEL) == description["Labels"][DESCRIPTION_LABEL]
    return bool(state["Running"] or (state["Status"] == "created" and same))


def _digest(description: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()


def _limits(limits: SessionSettings, request: SessionRequest) -> dict[str, Any]:
    memory = request.memory_bytes or limits.memory_bytes
    return {
        "Memory": memory,
        "MemorySwap": memory,
        "CpuPeriod": _CPU_PERIOD,
        "CpuQuota": int((request.cpus or limits.cpus) * _CPU_PERIOD),
        "PidsLimit": limits.max_processes,
        "ShmSize": limits.shared_memory_bytes,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true"],
        "Init": True,
        "IpcMode": "private",
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "2m", "max-file": "1"}},
    }
