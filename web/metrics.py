"""Metrics: the names that dashboards of this kind of service query (protocol page 5.1), with bounded labels."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from bindery.errors import QuotaReached, RepositoryQuotaReached
from db.builds import Build
from db.sessions import Session
from db.states import BuildState, SessionState
from web.intake import Visit

#: How often, in seconds, the event loop is looked at.
LOOP_SECONDS = 0.5

_LAGS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_WAITS = (0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)


class Metrics:
    """The metrics of one process. Each build and each launch is counted once, when it ends.

    `names` are the providers' display names by id: dashboards know those.
    """

    def __init__(self, viewers: Callable[[], int], names: Mapping[str, str]) -> None:
        self._names = names
        self._clock = time.time
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._build_time = Histogram(
            "binderhub_build_time_seconds",
            "Seconds a build took.",
            ["status"],
            buckets=(1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200),
            registry=self._registry,
        )
        self._launch_time = Histogram(
            "binderhub_launch_time_seconds",
            "Seconds from asking for a server to its first answer.",
            ["status", "retries"],
            buckets=(0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600),
            registry=self._registry,
        )
        self._builds = self._counter("binderhub_build_count", "Builds that ended.")
        self._launches = self._counter("binderhub_launch_count", "Launches that ended.")
        self._building = self._gauge("binderhub_inprogress_builds", "Builds that run now.")
        self._launching = self._gauge("binderhub_inprogress_launches", "Launches that run now.")
        self._lag = self._histogram("bindery_event_loop_lag_seconds", "Seconds the event loop was late.", _LAGS)
        self._build_wait = self._histogram("bindery_build_queue_seconds", "Seconds builds waited for a worker.", _WAITS)
        self._session_wait = self._histogram("bindery_session_queue_seconds", "Seconds sessions waited.", _WAITS)
        self._gauge("bindery_stream_viewers", "Clients that follow an event stream now.").set_function(viewers)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(name, text, ["status", "provider"], registry=self._registry)

    def _histogram(self, name: str, text: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(name, text, buckets=buckets, registry=self._registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, registry=self._registry)

    def build(self, build: Build, state: BuildState, seconds: float) -> None:
        """A build went to a state; `seconds` since it was begun."""
        if state is BuildState.FETCHING:
            self._building.inc()
            self._build_wait.observe(max(self._clock() - build.created_at, 0))
            return
        self._building.dec()
        status = "success" if state is BuildState.BUILT else "failure"
        self._build_time.labels(status).observe(seconds)
        self._builds.labels(status, self._names.get(build.provider, "")).inc()

    def launch(self, session: Session, state: SessionState, seconds: float) -> None:
        """A session went to a state; `seconds` since its server was asked for."""
        if state is SessionState.STARTING:
            self._launching.inc()
            if session.build_id is None and session.started_at is not None:
                self._session_wait.observe(max(session.started_at - session.created_at, 0))
            return
        self._launching.dec()
        ready = state is SessionState.READY
        self._launch_time.labels("success" if ready else "failure", "0" if ready else "-1").observe(seconds)
        provider = session.request.get("binder_request", "").removeprefix("v2/").partition("/")[0]
        self._launches.labels("success" if ready else "failure", self._names.get(provider, "")).inc()

    def refused(self, visit: Visit, error: QuotaReached) -> None:
        """A quota refused a launch."""
        status = "repo_quota" if isinstance(error, RepositoryQuotaReached) else "pod_quota"
        self._launches.labels(status, self._names.get(visit.provider, "")).inc()

    async def watch_loop(self) -> None:
        """See how late the event loop is, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LOOP_SECONDS
            await asyncio.sleep(LOOP_SECONDS)
            self._lag.observe(max(loop.time() - due, 0))

    def text(self) -> bytes:
        """The Prometheus text format."""
        return generate_latest(self._registry)
