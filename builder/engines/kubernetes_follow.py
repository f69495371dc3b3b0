"""Following one Job of a build from wherever it is to its verdict."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from bindery.cluster import Cluster
from bindery.errors import BinderyError, BuildTimedOut, ClusterRefused, EngineUnavailable
from builder.engines import kubernetes_status as status
from builder.engines.kubernetes_job import CONTAINER
from builder.engines.kubernetes_patience import MISSING, ask, find
from builder.engines.kubernetes_status import BuildPod
from builder.engines.narration import Line, Say
from builder.job.records import Record, Verdict

#: Seconds of silence after which a stream is asked for anew: who does not answer any more must not be waited for.
SILENT_SECONDS = 60.0
#: Seconds between two looks at what does not tell by itself.
LOOK_SECONDS = 1.0
#: How often, in a row, the API may fail before the build does.
MOST_FAULTS = 20


@dataclass(frozen=True)
class Limits:
    """How long a build may wait for a node, and a node may take to begin, in seconds; its memory, and its image."""

    schedule_seconds: float
    begin_seconds: float
    memory_bytes: int
    image: str


@dataclass
class Follower:
    """Follows a Job's pod and tells its lines, each once: those up to number `told` are known already.

    `follow` returns the verdict, or None when the pod is gone without one.
    """

    cluster: Cluster
    job: str
    limits: Limits
    say: Say
    told: int = 0
    _verdict: Verdict | None = None
    _last: float = 0.0
    _said: set[str] = field(default_factory=set)

    async def follow(self) -> Verdict | None:
        """See the class. Raises a `BinderyError` when the cluster cannot or must not go on."""
        pod = await self._started()
        if pod is None:
            return await self._ended(None)
        if pod.node:
            await self._once(f"Building on node {pod.node}\n")
        await self._read_log(pod)
        return await self._ended(pod)

    async def _started(self) -> BuildPod | None:
        """The pod, once its container has begun; None when it is gone."""
        begun = time.monotonic()
        while True:
            pod = await self._pod()
            if pod is None:
                if await self._job() is None or time.monotonic() - begun > self.limits.schedule_seconds:
                    return None
            elif pod.started or pod.over:
                return pod
            else:
                await self._explain(pod, time.monotonic() - begun)
            await self._changed()

    async def _explain(self, pod: BuildPod, seconds: float) -> None:
        if pod.unschedulable:
            if seconds > self.limits.schedule_seconds:
                raise status.unplaced(pod, self.limits.schedule_seconds)
            await self._once(f"Waiting for a node with room: {status.shortage(pod.unschedulable)}\n")
        elif problem := status.stuck(pod, self.limits.image):
            raise problem
        elif seconds > self.limits.schedule_seconds + self.limits.begin_seconds:
            raise status.idle(pod, self.limits.begin_seconds)
        elif pod.waiting == "ErrImagePull":
            await self._once(f"The builder's image cannot be pulled yet: {pod.message[:300]}\n")

    async def _changed(self) -> None:
        """Wait until something about the Job's pods changes, or for a moment where that cannot be known."""
        query = {"watch": "true", "labelSelector": f"job-name={self.job}", "timeoutSeconds": "5"}
        stream = self.cluster.lines(self.cluster.path("pods"), query=query, silent_seconds=SILENT_SECONDS)
        seen = 0
        try:
            async with contextlib.aclosing(stream), asyncio.timeout(5.0):
                async for _ in stream:
                    seen += 1
                    # The first event only says what is there already.
                    if seen > 1:
                        return
        except (TimeoutError, BinderyError):
            await asyncio.sleep(LOOK_SECONDS)

    async def _read_log(self, pod: BuildPod) -> None:
        """Tell what the container says, until it says no more."""
        faults = 0
        while self._verdict is None:
            before = self.told
            try:
                async with contextlib.aclosing(self._lines(pod)) as lines:
                    async for line in lines:
                        await self._tell(line)
            except EngineUnavailable:
                pass
            except ClusterRefused as problem:
                if problem.answer == MISSING:
                    return
            faults = 0 if self.told > before else faults + 1
            now = await self._pod()
            if now is None or now.uid != pod.uid or (now.over and faults):
                return
            if faults > MOST_FAULTS and self._verdict is None:
                raise EngineUnavailable("The log of the build cannot be read.")
            if self._verdict is None:
                await asyncio.sleep(LOOK_SECONDS)

    def _lines(self, pod: BuildPod) -> AsyncGenerator[bytes, None]:
        query = {"follow": "true", "container": CONTAINER}
        if self._last:
            query["sinceTime"] = datetime.fromtimestamp(int(self._last) - 1, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        path = self.cluster.path("pods", pod.name, "log")
        return self.cluster.lines(path, query=query, silent_seconds=SILENT_SECONDS)

    async def _tell(self, line: bytes) -> None:
        record = Record.decode(line)
        if record is None or record.number <= self.told:
            if record is not None and record.verdict is not None:
                self._verdict = record.verdict
            return
        self._last = record.moment
        if record.verdict is not None:
            self._verdict = record.verdict
        else:
            await self.say(Line(record.text, at=f"{self.job}:{record.number}"))
        self.told = record.number

    async def _ended(self, pod: BuildPod | None) -> Verdict | None:
        if self._verdict is not None:
            return self._verdict
        now = await self._pod()
        if now is not None and (pod is None or now.uid == pod.uid):
            if now.verdict is not None and now.verdict.reason is not None:
                return now.verdict
            if problem := status.ending(now, self.limits.memory_bytes):
                raise problem
        job = await self._job()
        if job is not None and status.timed_out(job):
            raise BuildTimedOut("The build took longer than its Job may.")
        return None

    async def _once(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            await self.say(line)

    async def _pod(self) -> BuildPod | None:
        query = {"labelSelector": f"job-name={self.job}"}
        items = (await ask(self.cluster, "GET", self.cluster.path("pods"), query=query)).get("items") or []
        items = [item for item in items if "deletionTimestamp" not in item["metadata"]] or items
        return status.read(items[-1]) if items else None

    async def _job(self) -> dict[str, Any] | None:
        return await find(self.cluster, "jobs", self.job)
