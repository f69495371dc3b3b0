"""Bursts against a real control plane: as many sessions at once as a class or a talk brings, on a node of paper."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import socket
import sys
import threading
import time
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psutil
import structlog
import uvicorn
from aiohttp import web
from fastapi import FastAPI

from bindery.cluster import Cluster
from bindery.serving import SWITCH_SECONDS, rest_collector
from bindery.settings import KubernetesSettings, SessionSettings
from db.builds import BuildStore
from db.engine import Database
from db.images import ImageStore
from db.sessions import Session, SessionStore, SessionWanted
from db.states import SessionState
from db.wakeups import Wakeups
from launcher.activity import Activity
from launcher.controller import Controller, Launchpad
from launcher.serving import PORT
from launcher.spawners.base import SessionRequest
from launcher.spawners.kubernetes import KubernetesSpawner
from launcher.spawners.kubernetes_pod import Place, describe
from tests.bench.figures import Samples, compare, duration, say, share, show, title
from tests.bench.kubernetes_node import FakeNode
from tests.support.cluster import cluster
from tests.support.wait import until
from web.health import Health

BURST = 500
ROUND = 50
ROWS = (100, 1000, 5000)
SECONDS = 300.0
#: Between two questions about health.
PAUSE_SECONDS = 0.01
#: All pods are told to be here; whoever asks there is answered.
HOST = "127.44.0.1"
MIB = 1 << 20


@dataclass
class Stage:
    """A controller with rows of its own, on the fake node."""

    sessions: SessionStore
    spawner: KubernetesSpawner
    node: FakeNode
    wakeups: Wakeups
    controller: Controller
    ready: list[Session] = field(default_factory=list)

    async def ask(self, count: int) -> list[Session]:
        """So many sessions, of visitors who wait."""
        wanted = SessionWanted("bench", "bench:1", None, "http://127.0.0.1/", {"repo_url": "", "binder_request": ""})
        return [await self.sessions.create(wanted, time.time()) for _ in range(count)]

    async def all_ready(self, count: int) -> None:
        """Wait until so many sessions are ready."""

        async def are() -> bool:
            found = await self.sessions.by_state()
            assert not found.get(SessionState.FAILED), "a session failed"
            return found.get(SessionState.READY, 0) >= count

        await until(are, SECONDS, f"{count} sessions are ready")


async def measure_kubernetes(folder: Path) -> None:
    """Launch a crowd at once, then ever again beside more and more rows."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    title("Kubernetes: sessions on a node without kubelet (real API server, scheduler and etcd)")
    async with _answering(), Cluster(cluster().settings()) as api:
        node = FakeNode(api, HOST)
        async with node.running(), _stage(folder, node) as stage:
            await _burst(stage)
            await _rounds(stage)


async def _burst(stage: Stage) -> None:
    process = psutil.Process()
    # As the service does it.
    rest_collector()
    sys.setswitchinterval(SWITCH_SECONDS)
    before, cpu, requests = process.memory_info().rss, _cpu(), stage.spawner.cluster.requests
    await stage.ask(BURST)
    running = asyncio.create_task(stage.controller.run())
    began = asyncio.get_running_loop().time()
    try:
        async with HealthAsked().asking() as health:
            await until(lambda: len(stage.node.bound) >= BURST, SECONDS, "all pods are bound")
            bound = max(stage.node.bound.values()) - began
            await stage.all_ready(BURST)
            ready = asyncio.get_running_loop().time() - began
        asked = stage.spawner.cluster.requests - requests
        grown = (process.memory_info().rss - before) / MIB
        show(Samples(f"{BURST} sessions at once: until the last is ready", [ready]))
        compare(
            Samples(f"{BURST} sessions at once: until the last pod has its node", [bound]),
            Samples(f"the same {BURST} pods, only sent to the API", [await _only_pods(stage)]),
            "",
        )
        say("requests to the API for each launch", f"{asked / BURST:.2f}")
        say("processor time for each launch, the paper node's included", duration((_cpu() - cpu) / BURST))
        say("memory that the burst takes", f"{grown:.0f} MiB")
        say(
            "/health meanwhile",
            f"median {duration(share(health.seconds, 0.5))}, "
            f"p99 {duration(share(health.seconds, 0.99))}, slowest {duration(max(health.seconds))}; aim: under 50 ms",
        )
        say(
            "of which the service's own work is in the way for",
            f"p99 {duration(share(health.held_up, 0.99))}, at most {duration(max(health.held_up))} of processor",
        )
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _rounds(stage: Stage) -> None:
    """Launch some more beside so many rows of sessions that have ended."""
    present = BURST
    for rows in ROWS:
        await _old_rows(stage, rows)
        cpu, requests = _cpu(), stage.spawner.cluster.requests
        await stage.ask(ROUND)
        running = asyncio.create_task(stage.controller.run())
        began = time.perf_counter()
        try:
            present += ROUND
            await stage.all_ready(present)
        finally:
            seconds = time.perf_counter() - began
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        asked = (stage.spawner.cluster.requests - requests) / ROUND
        say(
            f"{ROUND} more at once, beside {rows} rows of old sessions and {present - ROUND} running",
            f"{duration(seconds)}; each {duration((_cpu() - cpu) / ROUND)} of processor, {asked:.2f} requests",
        )


async def _old_rows(stage: Stage, count: int) -> None:
    """Have so many rows of sessions that nobody waited for."""
    missing = count - len(stage.ready)
    for row in await stage.ask(missing):
        await stage.sessions.advance(row, SessionState.STOPPED, [], time.time())
        stage.ready.append(row)


async def _only_pods(stage: Stage) -> float:
    """Seconds until as many pods have their node when nothing else is done than sending them."""
    api, bound = stage.node.api, len(stage.node.bound)
    settings = _settings(stage.node, "bench-plain")
    place = Place(settings, SessionSettings())
    names = [f"plain-{number}" for number in range(BURST)]
    bodies = [describe(SessionRequest(name, "bench:1", "/", "", {}), place, name) for name in names]
    began = asyncio.get_running_loop().time()
    await asyncio.gather(*(api.ask("POST", api.path("pods"), body=body) for body in bodies))
    await until(lambda: len(stage.node.bound) >= bound + BURST, SECONDS, "all pods are bound")
    took = asyncio.get_running_loop().time() - began
    query = {"labelSelector": "app.kubernetes.io/instance=bench-plain", "gracePeriodSeconds": "0"}
    await api.ask("DELETE", api.path("pods"), query=query)
    return took


def _settings(node: FakeNode, instance: str) -> KubernetesSettings:
    pods = {"node_selector": node.selector, "tolerations": node.tolerations}
    return cluster().settings(instance=instance, session=pods, memory_request_bytes=MIB, cpu_request=0.001)


@contextlib.asynccontextmanager
async def _stage(folder: Path, node: FakeNode) -> AsyncIterator[Stage]:
    database = Database(f"sqlite+aiosqlite:///{folder}/burst.db")
    await database.open()
    wakeups = Wakeups()
    sessions = SessionStore(database, wakeups)
    limits = SessionSettings(unopened_seconds=3600)
    try:
        async with KubernetesSpawner(_settings(node, "bench"), limits) as spawner:
            pad = Launchpad(
                sessions=sessions,
                builds=BuildStore(database, wakeups),
                images=ImageStore(database),
                spawner=spawner,
                wakeups=wakeups,
                activity=Activity(),
                settings=limits,
                base_url="/",
            )
            yield Stage(sessions, spawner, node, wakeups, Controller(pad))
            query = {"labelSelector": "app.kubernetes.io/instance=bench", "gracePeriodSeconds": "0"}
            await node.api.ask("DELETE", node.api.path("pods"), query=query)
    finally:
        await database.close()


@contextlib.asynccontextmanager
async def _answering() -> AsyncIterator[None]:
    """One server that answers for all sessions."""

    async def answer(request: web.Request) -> web.Response:
        return web.json_response({})

    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, HOST, PORT, backlog=1024).start()
    try:
        yield
    finally:
        await runner.cleanup()


class HealthAsked:
    """Asks `/health` of a service in this event loop, again and again, from a thread of its own."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        #: Processor time that the event loop's thread took before it came back to whoever had waited long enough.
        self.held_up: list[float] = []
        self._over = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))

    @contextlib.asynccontextmanager
    async def asking(self) -> AsyncIterator[Self]:
        """Ask while the block runs."""
        app = FastAPI()
        health = Health({})
        app.get("/health")(health.report)
        config = uvicorn.Config(app, log_level="error", lifespan="off", ws="none")
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[self._listening]))
        thread = asyncio.create_task(asyncio.to_thread(self._ask))
        waiting = asyncio.create_task(self._wait_in_turn())
        try:
            yield self
        finally:
            self._over.set()
            waiting.cancel()
            await thread
            server.should_exit = True
            await serving

    async def _wait_in_turn(self) -> None:
        while True:
            used = time.thread_time()
            await asyncio.sleep(PAUSE_SECONDS)
            self.held_up.append(max(time.thread_time() - used - PAUSE_SECONDS, 0.0))

    def _ask(self) -> None:
        url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/health"
        while not self._over.is_set():
            began = time.perf_counter()
            with urllib.request.urlopen(url, timeout=60) as answer:
                answer.read()
            self.seconds.append(time.perf_counter() - began)
            self._over.wait(PAUSE_SECONDS)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
