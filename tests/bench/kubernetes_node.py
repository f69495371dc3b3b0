"""A node without a kubelet, for bursts: it takes every pod, and says at once that it runs."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from bindery.cluster import Cluster, Object
from bindery.errors import BinderyError
from bindery.informer import Watch
from tests.support.wait import until

#: Pods that are told to run at the same time.
WORKERS = 24
#: How often, in seconds, the node says that it is well.
BEAT_SECONDS = 5.0
_PATCH = "application/strategic-merge-patch+json"


@dataclass
class FakeNode:
    """The node; pods get the address `host`."""

    api: Cluster
    host: str
    name: str = field(default_factory=lambda: f"bench-{secrets.token_hex(3)}")
    bound: dict[str, float] = field(default_factory=dict)
    _queue: asyncio.Queue[tuple[str, bool]] = field(default_factory=asyncio.Queue)

    @property
    def selector(self) -> dict[str, str]:
        """By which pods choose it."""
        return {"bindery-bench": self.name}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The node is there and takes pods while the block runs."""
        labels = {**self.selector, "kubernetes.io/hostname": self.name}
        # Nothing else should come here.
        taints = [{"key": "bindery-bench", "value": self.name, "effect": "NoSchedule"}]
        body = {"metadata": {"name": self.name, "labels": labels}, "spec": {"taints": taints}}
        await self.api.ask("POST", "/api/v1/nodes", body=body)
        await self._beat()
        work = [self._follow(), self._beat_on(), *(self._serve() for _ in range(WORKERS))]
        tasks = [asyncio.create_task(each) for each in work]
        try:
            await until(self._is_free, 30, "the node takes pods")
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.api.ask("DELETE", f"/api/v1/nodes/{self.name}")

    @property
    def tolerations(self) -> list[dict[str, str]]:
        """What pods of the burst tolerate."""
        return [{"key": "bindery-bench", "operator": "Exists"}]

    async def _is_free(self) -> bool:
        """Whether the cluster has taken away what it puts on nodes that it does not know yet."""
        found = await self.api.ask("GET", f"/api/v1/nodes/{self.name}")
        return all("not-ready" not in taint["key"] for taint in found["spec"].get("taints", []))

    async def _beat(self) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        size = {"cpu": "100000", "memory": "100000Gi", "pods": "100000"}
        ready = {"type": "Ready", "status": "True", "reason": "Bench", "lastHeartbeatTime": now}
        await self.api.ask(
            "PATCH",
            f"/api/v1/nodes/{self.name}/status",
            body={"status": {"capacity": size, "allocatable": size, "conditions": [ready]}},
            content_type=_PATCH,
        )

    async def _beat_on(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            with contextlib.suppress(BinderyError):
                await self._beat()

    async def _follow(self) -> None:
        watch = Watch(self.api, "/api/v1/pods", {"fieldSelector": f"spec.nodeName={self.name}"})
        async with aclosing(watch.changes()) as changes:
            async for change in changes:
                if change is not None and not change.listed and not change.gone:
                    self._take(change.item)

    def _take(self, pod: Object) -> None:
        name, ending = pod["metadata"]["name"], "deletionTimestamp" in pod["metadata"]
        key = f"{pod['metadata']['namespace']}/{name}"
        if ending or key not in self.bound:
            self.bound.setdefault(key, asyncio.get_running_loop().time())
            self._queue.put_nowait((key, ending))

    async def _serve(self) -> None:
        while True:
            key, ending = await self._queue.get()
            namespace, _, name = key.partition("/")
            path = f"/api/v1/namespaces/{namespace}/pods/{name}"
            with contextlib.suppress(BinderyError):
                if ending:
                    await self.api.ask("DELETE", path, query={"gracePeriodSeconds": "0"})
                else:
                    await self.api.ask("PATCH", f"{path}/status", body=self._running(), content_type=_PATCH)

    def _running(self) -> dict[str, Any]:
        began = {"startedAt": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
        container = {
            "name": "session",
            "ready": True,
            "restartCount": 0,
            "image": "bench",
            "imageID": "bench",
            "state": {"running": began},
        }
        return {
            "status": {
                "phase": "Running",
                "podIP": self.host,
                "podIPs": [{"ip": self.host}],
                "containerStatuses": [container],
            }
        }
