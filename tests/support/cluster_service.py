"""The real service with the real cluster, and a look at what it has there."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bindery.cluster import Cluster
from bindery.errors import ClusterRefused
from bindery.pods import labels, selector
from bindery.settings import Settings
from tests.support import cluster_builds
from tests.support.git_server import GitServer
from tests.support.service import Service, environment


@dataclass(frozen=True)
class World:
    """A service on the cluster, and the cluster as its operator sees it."""

    service: Service
    api: Cluster
    instance: str

    async def pods(self) -> list[dict[str, Any]]:
        """The pods of this service's sessions that nobody removes."""
        return [item for item in await self._list("pods", "session") if "deletionTimestamp" not in item["metadata"]]

    async def jobs(self) -> list[str]:
        """The names of all Jobs of this service's builds."""
        return [item["metadata"]["name"] for item in await self._list("jobs", "build")]

    async def _list(self, kind: str, component: str) -> list[dict[str, Any]]:
        query = {"labelSelector": selector(labels(self.instance, component))}
        found: list[dict[str, Any]] = (await self.api.ask("GET", self.api.path(kind), query=query))["items"]
        return found

    async def remove(self, pod: str) -> None:
        """Remove a pod behind the service's back."""
        with contextlib.suppress(ClusterRefused):
            await self.api.ask("DELETE", self.api.path("pods", pod), query={"gracePeriodSeconds": "0"})


def variables(settings: Settings) -> dict[str, str]:
    """Settings of a service that builds and serves in the cluster, as variables."""
    cluster, build = settings.kubernetes, settings.kubernetes.build
    return {
        "BINDERY_ENGINE": "kubernetes",
        "BINDERY_BUILD__OS_IMAGE": settings.build.os_image,
        "BINDERY_REGISTRY__URL": settings.registry.url,
        "BINDERY_REGISTRY__PLAIN_HTTP_HOSTS": f'["{settings.registry.plain_http_hosts[0]}"]',
        "BINDERY_KUBERNETES__KUBECONFIG": str(cluster.kubeconfig),
        "BINDERY_KUBERNETES__NAMESPACE": cluster.namespace,
        "BINDERY_KUBERNETES__MEMORY_REQUEST_BYTES": str(128 * 2**20),
        "BINDERY_KUBERNETES__BUILD__IMAGE": build.image,
        "BINDERY_KUBERNETES__BUILD__MEMORY_REQUEST_BYTES": str(build.memory_request_bytes),
        "BINDERY_KUBERNETES__BUILD__CPU_REQUEST": str(build.cpu_request),
        "BINDERY_KUBERNETES__BUILD__CACHE_PATH": str(build.cache_path),
        "BINDERY_PROVIDERS__RESOLUTION_TTL_SECONDS": "0",
        "BINDERY_SESSION__CHECK_SECONDS": "0.5",
    }


@contextlib.asynccontextmanager
async def cluster_serving(git: GitServer, data_dir: Path, instance: str, **more: str) -> AsyncIterator[World]:
    """A service while the block runs; afterwards nothing of its sessions is left."""
    settings = cluster_builds.settings(data_dir, "bindery-tests")
    own = {"BINDERY_KUBERNETES__INSTANCE": instance, **more}
    service = Service(data_dir, environment(git, **variables(settings), **own))
    async with Cluster(settings.kubernetes) as api:
        world = World(service, api, instance)
        await service.start()
        try:
            yield world
        finally:
            await service.stop()
            for pod in await world.pods():
                await world.remove(pod["metadata"]["name"])
