"""A web and a worker process over a PostgreSQL and a real cluster; the worker reaches its API by a way that breaks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import signal
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from bindery.cluster import Cluster
from bindery.settings import Settings
from tests.support import cluster_builds
from tests.support.cluster_faults import ApiGoesAway
from tests.support.cluster_service import World, variables
from tests.support.git_server import GitServer
from tests.support.postgres import serve_postgres
from tests.support.service import Service, Visit, environment


class Part(Service):
    """A process of one role."""

    role: str = ""

    async def start(self, *options: str) -> None:
        """See `Service`."""
        await super().start("--role", self.role, *options)


@dataclass(frozen=True)
class Roles(World):
    """Both processes, what they have in the cluster, and the worker's way to it; `service` is the web process."""

    worker: Part
    way: ApiGoesAway
    token: str

    async def kill(self) -> None:
        """Kill the worker, and start another one in its place."""
        await self.worker.stop(signal.SIGKILL)
        await self.worker.start()

    @contextlib.asynccontextmanager
    async def no_room(self) -> AsyncIterator[None]:
        """No node takes new sessions of this service while the block runs."""
        await label_node(self.api, self.instance, None)
        try:
            yield
        finally:
            await label_node(self.api, self.instance, "here")

    async def launched(self, link: str, last_event_id: str = "") -> Visit:
        """A launch, or the rest of one, to its end."""
        visit = await self.service.stream(link, last_event_id).read()
        assert visit.last["phase"] == "ready", visit.text
        return visit

    async def end(self, *names: str) -> None:
        """End sessions, as their visitors do; all without names."""
        headers = {"Authorization": f"Bearer {self.token}"}
        async with aiohttp.ClientSession(f"{self.service.url}api/v1/", headers=headers) as client:
            async with client.get("sessions") as answer:
                found = await answer.json()
            for each in found:
                if not names or each["name"] in names:
                    async with client.delete(f"sessions/{each['id']}") as answer:
                        assert answer.status == 202, await answer.text()

    async def uids(self) -> dict[str, str]:
        """The pods of sessions that nobody removes, by the sessions' names."""
        return {item["metadata"]["labels"]["bindery.io/session"]: item["metadata"]["uid"] for item in await self.pods()}

    async def nothing_left(self) -> bool:
        """Whether no pod and no secret of any session is there."""
        if not await self.pods():
            # Kubelets of old releases take up to a minute for what they have ended long ago.
            await remove_pods(self.api, self.instance)
        return not await self._list("pods", "session") and not await self._list("secrets", "session")


@contextlib.asynccontextmanager
async def roles(git: GitServer, folder: Path) -> AsyncIterator[Roles]:
    """Both processes while the block runs."""
    chosen = cluster_builds.settings(folder / "settings", "bindery-tests")
    instance, token = f"roles-{secrets.token_hex(3)}", secrets.token_hex(16)
    with serve_postgres() as database:
        async with ApiGoesAway(Path(str(chosen.kubernetes.kubeconfig)), folder / "way") as way:
            shared = _shared(chosen, instance, token, database.url())
            web, worker = (_part(folder, role, git, shared) for role in ("web", "worker"))
            worker.environment = {**worker.environment, "BINDERY_KUBERNETES__KUBECONFIG": str(way.file)}
            async with Cluster(chosen.kubernetes) as api:
                await label_node(api, instance, "here")
                await worker.start()
                await web.start()
                try:
                    yield Roles(web, api, instance, worker, way, token)
                finally:
                    await asyncio.gather(web.stop(signal.SIGTERM), worker.stop(signal.SIGTERM))
                    await remove_pods(api, instance)
                    await label_node(api, instance, None)


def _shared(chosen: Settings, instance: str, token: str, database: str) -> Mapping[str, str]:
    return {
        **variables(chosen),
        "BINDERY_KUBERNETES__INSTANCE": instance,
        "BINDERY_KUBERNETES__CPU_REQUEST": "0.05",
        "BINDERY_KUBERNETES__SESSION__NODE_SELECTOR": json.dumps({instance: "here"}),
        "BINDERY_DATABASE__URL": database,
        "BINDERY_OPERATOR_TOKEN": token,
        "BINDERY_BUILD_TOKEN__SECRET": token,
        "BINDERY_BUILD__LEASE_SECONDS": "5",
        "BINDERY_SESSION__START_TIMEOUT_SECONDS": "120",
    }


def _part(folder: Path, role: str, git: GitServer, shared: Mapping[str, str]) -> Part:
    part = Part(folder / role, environment(git, **shared))
    part.role = role
    return part


async def remove_pods(api: Cluster, instance: str) -> None:
    """Remove all pods of a service at once."""
    query = {"labelSelector": f"app.kubernetes.io/instance={instance}", "gracePeriodSeconds": "0"}
    await api.ask("DELETE", api.path("pods"), query=query)


async def label_node(api: Cluster, label: str, value: str | None) -> None:
    """Give the cluster's first node a label, or take it away."""
    node: dict[str, Any] = (await api.ask("GET", "/api/v1/nodes"))["items"][0]
    path = f"/api/v1/nodes/{node['metadata']['name']}"
    body = {"metadata": {"labels": {label: value}}}
    await api.ask("PATCH", path, body=body, content_type="application/merge-patch+json")
