"""The network of sessions: out to the world, not to each other."""

from __future__ import annotations

from typing import Any

import structlog

from bindery.docker_api import DockerApi, EngineRefused

log = structlog.get_logger(__name__)

_BRIDGE = "com.docker.network.bridge.name"
_TALK = "com.docker.network.bridge.enable_icc"
#: Longest name of a network interface, in bytes.
_MAX_INTERFACE = 15


async def ensure_network(api: DockerApi, name: str) -> None:
    """Make the network unless it is there. One that somebody else made is used as it is."""
    try:
        found = await api.ask("GET", f"/networks/{name}")
    except EngineRefused as refused:
        if refused.status != 404:
            raise
    else:
        if found.get("Options", {}).get(_TALK) != "false":
            log.warning("docker.sessions_can_reach_each_other", network=name, option=f"{_TALK}=false")
        return
    try:
        await api.ask("POST", "/networks/create", body=_description(name))
    except EngineRefused as refused:
        if refused.status != 409:
            raise


def _description(name: str) -> dict[str, Any]:
    # The interface is called as the network is, so that an operator's firewall rule can name it.
    named = {_BRIDGE: name} if len(name.encode()) <= _MAX_INTERFACE else {}
    return {
        "Name": name,
        "Driver": "bridge",
        "CheckDuplicate": True,
        "EnableIPv6": False,
        "Options": {_TALK: "false", **named},
        "Labels": {"io.bindery.network": "sessions"},
    }
