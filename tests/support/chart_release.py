"""The chart's objects in a real cluster, in the order in which Helm makes them.

The tests' cluster may be old: kinds that it knows under another version are translated, those that it lacks left out.
"""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterable
from typing import Any

from bindery.cluster import Cluster
from bindery.errors import ClusterRefused
from tests.support.helm import Manifest
from tests.support.wait import until

_OLDER = {"policy/v1": "policy/v1beta1", "autoscaling/v2": "autoscaling/v2beta2"}
_HOOK, _WEIGHT = "helm.sh/hook", "helm.sh/hook-weight"
_REPLACED = "application/merge-patch+json"


class Release:
    """The objects of one rendering, in one namespace."""

    def __init__(self, api: Cluster, manifests: Iterable[Manifest]) -> None:
        self._api = api
        self._manifests = [copy.deepcopy(each) for each in manifests]
        self._kinds: dict[str, dict[str, tuple[str, bool]]] = {}
        #: Kinds that the cluster does not know.
        self.left_out: set[str] = set()

    async def check(self) -> None:
        """Let the cluster's API look at all objects without making any."""
        for each in self._manifests:
            if (path := await self._path(each)) is not None:
                await self._api.ask("POST", path, query={"dryRun": "All"}, body=each)

    async def install(self) -> None:
        """Make all objects: what has to be there first, the migration to its end, and the rest."""
        hooks = [each for each in self._manifests if _HOOK in each["metadata"].get("annotations", {})]
        for each in sorted(hooks, key=lambda each: int(each["metadata"]["annotations"][_WEIGHT])):
            await self._make(each)
            if each["kind"] == "Job":
                await self._done(each["metadata"]["name"])
        for each in self._manifests:
            if each not in hooks:
                await self._make(each)

    async def remove(self) -> None:
        """Remove what the chart made outside of its namespace, and whatever runs in it."""
        for each in reversed(self._manifests):
            path = await self._path(each)
            if path is not None and each["kind"] != "ServiceAccount":
                with contextlib.suppress(ClusterRefused):
                    name = each["metadata"]["name"]
                    await self._api.ask("DELETE", f"{path}/{name}", query={"propagationPolicy": "Background"})

    async def available(self, *deployments: str, seconds: float = 120) -> None:
        """Wait until all replicas of the newest version answer, and no other is left."""

        async def are() -> bool:
            return all([await self._is_available(name) for name in deployments])

        await until(are, seconds, f"{deployments} are available")

    async def restart(self, deployment: str, mark: str) -> None:
        """Replace all pods of a deployment, as `kubectl rollout restart` does."""
        change = {"spec": {"template": {"metadata": {"annotations": {"restarted": mark}}}}}
        path = f"/apis/apps/v1/namespaces/{self._api.namespace}/deployments/{deployment}"
        await self._api.ask("PATCH", path, body=change, content_type=_REPLACED)

    async def pods(self, component: str) -> list[dict[str, Any]]:
        """The pods of a part that are not on their way out."""
        query = {"labelSelector": f"app.kubernetes.io/component={component}"}
        found = (await self._api.ask("GET", self._api.path("pods"), query=query))["items"]
        return [each for each in found if "deletionTimestamp" not in each["metadata"]]

    async def _is_available(self, name: str) -> bool:
        path = f"/apis/apps/v1/namespaces/{self._api.namespace}/deployments/{name}"
        found = await self._api.ask("GET", path)
        status, wanted = found.get("status", {}), found["spec"]["replicas"]
        seen = status.get("observedGeneration", 0) >= found["metadata"]["generation"]
        counts = [status.get(each, 0) for each in ("replicas", "updatedReplicas", "availableReplicas")]
        return bool(seen and counts == [wanted] * 3)

    async def _done(self, job: str) -> None:
        async def has_ended() -> bool:
            status = (await self._api.ask("GET", self._api.path("jobs", job))).get("status", {})
            return bool(status.get("succeeded"))

        await until(has_ended, 120, f"{job} has succeeded")

    async def _make(self, each: Manifest) -> None:
        path = await self._path(each)
        if path is None:
            return
        try:
            await self._api.ask("POST", path, body=each)
        except ClusterRefused as error:
            if error.reason != "AlreadyExists":
                raise
            name = each["metadata"]["name"]
            await self._api.ask("PATCH", f"{path}/{name}", body=each, content_type=_REPLACED)

    async def _path(self, each: Manifest) -> str | None:
        """Where objects of the kind are made; None when the cluster has no such kind, in any version."""
        for version in (each["apiVersion"], _OLDER.get(each["apiVersion"])):
            kinds = await self._known(version) if version else {}
            if each["kind"] in kinds:
                plural, namespaced = kinds[each["kind"]]
                each["apiVersion"] = version
                base = f"/api/{version}" if "/" not in str(version) else f"/apis/{version}"
                return f"{base}/namespaces/{self._api.namespace}/{plural}" if namespaced else f"{base}/{plural}"
        self.left_out.add(each["kind"])
        return None

    async def _known(self, version: str) -> dict[str, tuple[str, bool]]:
        if version not in self._kinds:
            base = f"/api/{version}" if "/" not in version else f"/apis/{version}"
            try:
                found = (await self._api.ask("GET", base))["resources"]
            except (ClusterRefused, json.JSONDecodeError):
                found = []
            self._kinds[version] = {
                each["kind"]: (each["name"], each["namespaced"]) for each in found if "/" not in each["name"]
            }
        return self._kinds[version]
