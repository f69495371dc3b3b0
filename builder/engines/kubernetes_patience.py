"""Questions to a cluster that may take a while to answer: a build of minutes must not fail for an API that restarts."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from bindery.cluster import Cluster
from bindery.errors import ClusterRefused, EngineUnavailable

#: For how many seconds the API may be away, and how many pass between two attempts.
AWAY_SECONDS = 180.0
PAUSE_SECONDS = 2.0
CONFLICT = 409
MISSING = 404


async def ask(cluster: Cluster, method: str, path: str, **more: Any) -> dict[str, Any]:
    """One request, sent again as long as the API is away; what it asks for may have been done then already."""
    begun = time.monotonic()
    while True:
        try:
            return await cluster.ask(method, path, **more)
        except EngineUnavailable:
            if time.monotonic() - begun > AWAY_SECONDS:
                raise
        await asyncio.sleep(PAUSE_SECONDS)


async def find(cluster: Cluster, kind: str, name: str) -> dict[str, Any] | None:
    """A thing of the cluster, if it is there."""
    try:
        return await ask(cluster, "GET", cluster.path(kind, name))
    except ClusterRefused as problem:
        if problem.answer == MISSING:
            return None
        raise
