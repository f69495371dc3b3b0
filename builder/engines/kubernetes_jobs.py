"""The Jobs of builds: made once, held by the builds that want them, adopted, and removed by the last one."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any

from bindery import pods
from bindery.cluster import Cluster
from bindery.errors import ClusterRefused
from bindery.settings import KubernetesSettings
from builder.engines.base import Running
from builder.engines.kubernetes_job import HOLD, Parcel, build_labels, job, owned, secret, secret_of
from builder.engines.kubernetes_patience import CONFLICT, MISSING, ask, find

_MERGE = "application/merge-patch+json"
#: How long, in seconds, a Job that is being removed may still be there.
_GONE_SECONDS = 60.0
_LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Jobs:
    """The Jobs of one service's builds."""

    cluster: Cluster
    settings: KubernetesSettings
    #: Nodes that builds were seen on.
    nodes: set[str] = field(default_factory=set)

    @property
    def contexts(self) -> str:
        """What the names of contexts begin with: other clusters may keep theirs in the same registry."""
        owner = f"{self.cluster.namespace}/{self.settings.instance}"
        return f"{hashlib.sha256(owner.encode()).hexdigest()[:8]}-"

    async def adopt(self, name: str, build_id: str) -> bool:
        """Hold the Job of this name for a build; False when there is none. One that is being removed is waited for."""
        for _ in range(int(_GONE_SECONDS / _LOOK_SECONDS)):
            found = await find(self.cluster, "jobs", name)
            if found is None:
                return False
            if "deletionTimestamp" not in found["metadata"]:
                return await self._hold(name, build_id)
            await asyncio.sleep(_LOOK_SECONDS)
        raise ClusterRefused(f"The cluster does not remove the Job {name}.", answer=CONFLICT)

    async def make(self, name: str, build_id: str, parcel: Parcel) -> None:
        """Make the Job, and the Secret that goes with it; or hold the one that somebody else has made meanwhile."""
        secret_name = f"{name}-{token_hex(4)}"
        try:
            await self._create("secrets", secret(self.settings, secret_name, parcel, build_id))
            await self._create(
                "jobs", job(self.settings, name, secret_name, parcel.order, build_id, await self._nodes())
            )
            made = await find(self.cluster, "jobs", name)
            if made is not None and secret_of(made) == secret_name:
                await self._patch("secrets", secret_name, owned(secret_name, name, made["metadata"]["uid"]))
                return
        except BaseException:
            await asyncio.shield(self._remove("secrets", secret_name))
            raise
        await self._remove("secrets", secret_name)
        await self.adopt(name, build_id)

    async def release(self, name: str, build_id: str) -> None:
        """Hold the Job no more; without anybody else who does, it is removed with all that belongs to it."""
        try:
            left = await self._patch("jobs", name, {"metadata": {"annotations": {f"{HOLD}{build_id}": None}}})
        except ClusterRefused as problem:
            if problem.answer == MISSING:
                return
            raise
        await self._remove_unheld(left)

    async def reap(self, running: Running) -> None:
        """Remove the Jobs that no running build holds, and Secrets that belong to no Job."""
        secrets = [item for item in await self._list("secrets") if not item["metadata"].get("ownerReferences")]
        left = await self._list("jobs")
        while left:
            alive = set(await running())
            changed = [await self._remove_unchanged(item) for item in left if not alive & set(holders(item))]
            left = [item for item in changed if item is not None]
        alive = set(await running())
        for item in secrets:
            if not alive & set(holders(item)):
                # As it was found: a Job that owns it since then takes it along.
                await self._remove("secrets", item["metadata"]["name"], item["metadata"]["resourceVersion"])

    async def names(self) -> list[str]:
        """The Jobs that are there."""
        return [item["metadata"]["name"] for item in await self._list("jobs")]

    async def _hold(self, name: str, build_id: str) -> bool:
        try:
            await self._patch("jobs", name, {"metadata": {"annotations": {f"{HOLD}{build_id}": "wanted"}}})
        except ClusterRefused as problem:
            if problem.answer == MISSING:
                return False
            raise
        return True

    async def _nodes(self) -> set[str]:
        """Nodes that builds ran on lately, by their pods: the nodes themselves are not ours to list."""
        seen = {(item.get("spec") or {}).get("nodeName") for item in await self._list("pods")}
        self.nodes.update(node for node in seen if node)
        return self.nodes

    async def _list(self, kind: str) -> list[dict[str, Any]]:
        query = {"labelSelector": pods.selector(build_labels(self.settings))}
        items: list[dict[str, Any]] = (await ask(self.cluster, "GET", self.cluster.path(kind), query=query))["items"]
        return items

    async def _create(self, kind: str, body: dict[str, Any]) -> None:
        """Make something, unless it is there: by this request already, or by somebody else."""
        try:
            await ask(self.cluster, "POST", self.cluster.path(kind), body=body)
        except ClusterRefused as problem:
            if problem.answer != CONFLICT:
                raise

    async def _patch(self, kind: str, name: str, body: dict[str, Any]) -> dict[str, Any]:
        return await ask(self.cluster, "PATCH", self.cluster.path(kind, name), body=body, content_type=_MERGE)

    async def _remove_unheld(self, found: dict[str, Any] | None) -> None:
        """Remove a Job unless somebody holds it; it may change meanwhile, as it does when it ends."""
        while found is not None and not holders(found):
            found = await self._remove_unchanged(found)

    async def _remove_unchanged(self, found: dict[str, Any]) -> dict[str, Any] | None:
        """Remove a Job as it was found; returns it as it is now if it has changed since."""
        name = found["metadata"]["name"]
        if await self._remove("jobs", name, found["metadata"]["resourceVersion"]):
            return None
        return await find(self.cluster, "jobs", name)

    async def _remove(self, kind: str, name: str, version: str = "") -> bool:
        """Remove something; False when it has changed since `version`. What is gone already is no error."""
        body: dict[str, Any] = {"propagationPolicy": "Background"}
        if version:
            body["preconditions"] = {"resourceVersion": version}
        try:
            await ask(self.cluster, "DELETE", self.cluster.path(kind, name), body=body)
        except ClusterRefused as problem:
            if problem.answer not in (MISSING, CONFLICT):
                raise
            return problem.answer == MISSING
        return True


def holders(found: dict[str, Any]) -> list[str]:
    """The builds that hold a Job, or that a Secret was made for."""
    annotations = found["metadata"].get("annotations") or {}
    return [name.removeprefix(HOLD) for name in annotations if name.startswith(HOLD)]
