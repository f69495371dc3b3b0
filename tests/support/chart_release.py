"""The chart in the tests' cluster, installed by Helm."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from bindery.cluster import Cluster
from tests.support import cluster_kinds
from tests.support.chart_docs import CHART
from tests.support.helm import Manifest, run
from tests.support.wait import until

#: What Helm waits for: a hook, or all pods.
TIMEOUT_SECONDS = 150


class Release:
    """One release of the chart in one namespace; the chart's copy for an older cluster is in `folder`.

    What Helm refuses or waits for in vain raises `Refusal`.
    """

    def __init__(self, api: Cluster, kubeconfig: Path, name: str, folder: Path) -> None:
        self._api = api
        self._where = ("--kubeconfig", str(kubeconfig), "--namespace", api.namespace)
        self._folder = folder
        self.name = name

    async def prepare(self) -> None:
        """Make what Helm needs to install the chart in a cluster that may be too old for it."""
        chart = shutil.copytree(CHART, self._folder / "bindery") / "Chart.yaml"
        chart.write_text(re.sub(r"(?m)^kubeVersion: .*\n", "", chart.read_text()))
        versions = {each.version for each in await cluster_kinds.kinds(self._api)}
        program = self._folder / "post-renderer"
        words = [sys.executable, "-m", cluster_kinds.__name__, *sorted(versions)]
        program.write_text(f"#!/bin/sh\ncd {shlex.quote(str(CHART.parents[1]))} && exec {shlex.join(words)}\n")
        program.chmod(0o755)

    async def install(self, values: Mapping[str, Any]) -> str:
        """Install it, and wait until all pods are ready; returns what Helm says to the operator."""
        return await self._apply("install", values, TIMEOUT_SECONDS)

    async def upgrade(self, values: Mapping[str, Any], seconds: int = TIMEOUT_SECONDS) -> str:
        """The same for an upgrade."""
        return await self._apply("upgrade", values, seconds)

    async def roll_back(self, revision: int) -> None:
        """Go back to a revision."""
        await self._helm("rollback", self.name, str(revision), "--wait", f"--timeout={TIMEOUT_SECONDS}s")

    async def uninstall(self) -> None:
        """Remove it."""
        await self._helm("uninstall", self.name)

    async def manifest(self) -> list[Manifest]:
        """The objects of the newest revision, as Helm rendered them in the cluster."""
        return list(yaml.safe_load_all(await self._helm("get", "manifest", self.name)))

    async def migrated(self) -> datetime:
        """The second in which the last migration ended."""
        hooks = json.loads(await self._helm("status", self.name, "--output=json"))["hooks"]
        [job] = [each for each in hooks if each["kind"] == "Job"]
        assert job["last_run"]["phase"] == "Succeeded"
        return datetime.fromisoformat(job["last_run"]["completed_at"]).replace(microsecond=0)

    async def pods(self, component: str) -> list[dict[str, Any]]:
        """The pods of a part that are not on their way out."""
        query = {"labelSelector": f"app.kubernetes.io/instance={self.name},app.kubernetes.io/component={component}"}
        found = (await self._api.ask("GET", self._api.path("pods"), query=query))["items"]
        return [each for each in found if "deletionTimestamp" not in each["metadata"]]

    async def available(self, *parts: str, seconds: float = 120) -> None:
        """Wait until all replicas of the newest version answer, and no other is left."""

        async def are() -> bool:
            return all([await self._is_available(f"{self.name}-{part}") for part in parts])

        await until(are, seconds, f"{parts} are available")

    async def end_sessions(self) -> None:
        """Remove what Helm does not know, as the operators' documentation says."""
        parts = "app.kubernetes.io/component in (session,build,migration)"
        query = {"labelSelector": f"app.kubernetes.io/instance={self.name},{parts}"}
        for kind in ("jobs", "pods", "secrets"):
            await self._api.ask("DELETE", self._api.path(kind), query=query)

    async def _apply(self, verb: str, values: Mapping[str, Any], seconds: int) -> str:
        words = ("--post-renderer", str(self._folder / "post-renderer"), "--wait", f"--timeout={seconds}s")
        return await self._helm(verb, self.name, str(self._folder / "bindery"), *words, values=values)

    async def _helm(self, *words: str, values: Mapping[str, Any] | None = None) -> str:
        return await asyncio.to_thread(run, *words, *self._where, values=values)

    async def _is_available(self, name: str) -> bool:
        path = f"/apis/apps/v1/namespaces/{self._api.namespace}/deployments/{name}"
        found = await self._api.ask("GET", path)
        status, wanted = found.get("status", {}), found["spec"]["replicas"]
        seen = status.get("observedGeneration", 0) >= found["metadata"]["generation"]
        counts = [status.get(each, 0) for each in ("replicas", "updatedReplicas", "availableReplicas")]
        return bool(seen and counts == [wanted] * 3)
