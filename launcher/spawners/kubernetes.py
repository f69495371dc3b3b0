"""Sessions as pods of a cluster."""

from __future__ import annotations

import asyncio
import contextlib
import time
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import structlog

from bindery.cluster import MOST_REQUESTS, Cluster
from bindery.errors import ClusterRefused, EngineUnavailable, QuotaReached, SessionFailed
from bindery.informer import Informer, Watch, following
from bindery.pods import INSTANCE_LABEL, selector
from bindery.settings import KubernetesSettings, SessionSettings
from launcher.serving import PORT
from launcher.spawners.base import Address, Running, SessionRequest, Status
from launcher.spawners.kubernetes_pod import (
    CONTAINER,
    GRACE_SECONDS,
    Place,
    describe,
    memory_limit,
    pod_name,
    token_secret,
)
from launcher.spawners.kubernetes_status import PodView, failure, read, running
from launcher.spawners.kubernetes_steps import Steps
from launcher.spawners.redaction import redacted

log = structlog.get_logger(__name__)

#: For how long, in seconds, a launch waits for an API that does not answer, and how often it asks.
PATIENCE_SECONDS = 60.0
AGAIN_SECONDS = 1.0
#: How long, in seconds, the end of a pod is waited for. What takes longer, on a node that is gone, the cluster does.
END_SECONDS = 60.0
#: How often a pod is tried to be made while its name is taken.
TRIES = 3
#: What a log's end is taken from, in bytes.
TAIL_BYTES = 256 * 1024


@dataclass(frozen=True)
class _Asked:
    """A session that this process asked for."""

    request: SessionRequest
    steps: Steps


class KubernetesSpawner:
    """The spawner of the kubernetes engine.

    - Pods are named after their sessions and labelled with the instance, the service they belong to. They outlive the
      service; the next one of the same instance, or another replica, finds them.
    - All that is asked about them is answered from one watch; a launch costs two requests, an end one.
    - A pod that ended stays, for its log, until `stop` removes it; its secret goes with it.
    - While the API does not answer, what was known stays true: nobody takes a session for lost.
    """

    def __init__(
        self, settings: KubernetesSettings, limits: SessionSettings, *, allow_origins: Sequence[str] = ()
    ) -> None:
        self.cluster = Cluster(settings)
        self.settings = settings
        self._place = Place(settings, limits, allow_origins)
        self._asked: dict[str, _Asked] = {}
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self._turns = asyncio.Semaphore(MOST_REQUESTS)
        self._stack = contextlib.AsyncExitStack()
        query = {"labelSelector": selector(self._place.labels)}
        self._pods: Informer[PodView] = Informer(self.cluster, "pods", query, read, self._see)

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self.cluster)
            await stack.enter_async_context(self._pods)
            query = {"fieldSelector": "involvedObject.kind=Pod"}
            events = Watch(self.cluster, self.cluster.path("events"), query, listing=False)
            await stack.enter_async_context(following(events, self._hear))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    @property
    def instance(self) -> str:
        """The service that the pods belong to."""
        return self.settings.instance

    async def start(self, request: SessionRequest) -> None:
        """Ask for a server; its pod is known to the cluster when this returns."""
        name = self._name(request.name)
        if name is None:
            raise SessionFailed(f"No session can be called {request.name!r}.", hint="")
        async with self._lock(name), _told("The session's pod could not be made."):
            if name not in self._asked:
                settings = self.settings
                steps = Steps(request.image, settings.schedule_timeout_seconds, settings.pull_timeout_seconds)
                self._asked[name] = _Asked(request, steps)
            uid = await self._patiently(request, name)
            await self._give_token(request, name, uid)

    async def poll(self, name: str) -> Status:
        """Whether the pod is there and runs, and how it came to that."""
        pod = self._find(name)
        if pod is None:
            self._must_be_fresh()
            return Status(Running.MISSING)
        asked = self._asked.get(self._name(name) or "")
        state = running(pod)
        if asked is None:
            return Status(state, failure=failure(pod, "", self._place.limits.memory_bytes))
        limit = memory_limit(asked.request, self._place.limits)
        why = failure(pod, asked.request.image, limit) or asked.steps.failure or asked.steps.overdue(pod)
        return Status(state, tuple(asked.steps.lines), None if state is Running.RUNNING else why)

    async def address(self, name: str) -> Address | None:
        """Where the server listens; known once its container runs."""
        pod = self._find(name)
        known = pod is not None and pod.address and running(pod) is Running.RUNNING
        return Address(host=pod.address, port=PORT) if pod is not None and known else None

    async def stop(self, name: str) -> None:
        """End everything in the pod, and remove it with its secret."""
        pod = self._name(name)
        if pod is None or (self._find(name) is None and self._pods.fresh):
            self._asked.pop(pod or "", None)
            return
        async with self._lock(pod), _told("The session's pod could not be removed."):
            await self._remove(pod, _finished)
            self._asked.pop(pod, None)

    async def list(self) -> list[str]:
        """Names of all sessions of this instance that have a pod, whoever started it."""
        self._must_be_fresh()
        return sorted(pod.session for pod in self._pods.known.values() if not pod.finished)

    async def logs(self, name: str, lines: int = 100) -> str:
        """The last lines the pod wrote, without its token."""
        pod = self._name(name)
        if pod is None or lines <= 0 or self._find(name) is None:
            return ""
        query = {"container": CONTAINER, "tailLines": str(lines), "limitBytes": str(TAIL_BYTES)}
        try:
            text = await self.cluster.text(self.cluster.path("pods", pod, "log"), query=query)
        except ClusterRefused:
            # It has no log yet, or none any more.
            return ""
        asked = self._asked.get(pod)
        return redacted(text, asked.request.token if asked is not None else "")

    def _name(self, session: str) -> str | None:
        return pod_name(self.instance, session)

    def _lock(self, pod: str) -> asyncio.Lock:
        return self._locks.setdefault(pod, asyncio.Lock())

    def _find(self, session: str) -> PodView | None:
        return self._pods.known.get(self._name(session) or "")

    def _must_be_fresh(self) -> None:
        if not self._pods.fresh:
            raise EngineUnavailable("The cluster's API does not answer at the moment.")

    def _see(self, name: str, pod: PodView | None) -> None:
        asked = self._asked.get(name)
        if asked is not None and pod is not None:
            asked.steps.see(pod)

    def _hear(self, event: dict[str, Any]) -> None:
        asked = self._asked.get(event["involvedObject"].get("name", ""))
        if asked is not None:
            asked.steps.hear(event)

    async def _patiently(self, request: SessionRequest, name: str) -> str:
        """Have a pod, and wait a while for an API that does not answer; the pod's uid."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return await self._have(request, name)
            except EngineUnavailable:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(AGAIN_SECONDS)

    async def _have(self, request: SessionRequest, name: str) -> str:
        """A pod that is there or begins is adopted, one that ends is waited for, else one is made."""
        for _ in range(TRIES):
            pod = self._pods.known.get(name) or await self._make(request, name)
            if pod is not None and not pod.over and not pod.deleting:
                return pod.uid
            await self._remove(name, _gone)
        raise SessionFailed(f"The cluster has another pod that is called {name}, and does not end it.")

    async def _make(self, request: SessionRequest, name: str) -> PodView | None:
        """The pod, new or of that name and ours. None for one that ends."""
        path = self.cluster.path("pods")
        try:
            # Describing a crowd's pods all at once would keep the event loop from everything else.
            async with self._turns:
                made = await self.cluster.ask("POST", path, body=describe(request, self._place, name))
        except ClusterRefused as refused:
            if refused.answer != 409:
                raise
            found = await self._taken(name)
            if found is None:
                return None
            made = found
        self._pods.note(made)
        return read(made)

    async def _taken(self, name: str) -> dict[str, Any] | None:
        try:
            found = await self.cluster.ask("GET", self.cluster.path("pods", name))
        except ClusterRefused as refused:
            if refused.answer == 404:
                return None
            raise
        labels = found["metadata"].get("labels", {})
        if labels.get(INSTANCE_LABEL) != self.instance:
            raise SessionFailed(f"The cluster has another pod that is called {name}.", hint="Launch again.")
        return found

    async def _give_token(self, request: SessionRequest, name: str, uid: str) -> None:
        body = token_secret(request, self._place, name, uid)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                await self.cluster.ask("POST", self.cluster.path("secrets"), body=body)
                return
            except ClusterRefused as refused:
                if refused.answer != 409:
                    raise
                return
            except EngineUnavailable:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(AGAIN_SECONDS)

    async def _remove(self, name: str, enough: Callable[[PodView | None], bool]) -> None:
        """Remove a pod and wait until that is done so far."""
        query = {"gracePeriodSeconds": str(GRACE_SECONDS)}
        try:
            await self.cluster.ask("DELETE", self.cluster.path("pods", name), query=query)
        except ClusterRefused as refused:
            if refused.answer != 404:
                raise
        if not await self._pods.until(name, enough, END_SECONDS):
            log.warning("session.pod_stays", pod=name)


def _finished(pod: PodView | None) -> bool:
    return pod is None or pod.finished


def _gone(pod: PodView | None) -> bool:
    return pod is None


@contextlib.asynccontextmanager
async def _told(message: str) -> AsyncIterator[None]:
    """Tell people what the API's refusal means."""
    try:
        yield
    except ClusterRefused as refused:
        if "exceeded quota" in refused.message:
            raise QuotaReached(
                "The cluster's quota for sessions is used up.", hint="Try again in a few minutes."
            ) from refused
        raise SessionFailed(message, hint=refused.message) from refused
