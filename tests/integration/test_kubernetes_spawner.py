"""Sessions in a real cluster, when something is missing, ends, or goes away."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bindery.errors import BinderyError, EngineUnavailable, QuotaReached
from bindery.settings import MIB, SessionSettings
from launcher.spawners.base import Running, SessionRequest, Status
from launcher.spawners.kubernetes import KubernetesSpawner
from tests.support.cluster import cluster
from tests.support.cluster_faults import ApiGoesAway
from tests.support.cluster_images import published
from tests.support.session_images import build
from tests.support.wait import until

HOG = "a = []\nwhile True: a.append(bytearray(1 << 20))"
SECONDS = 60.0


@contextlib.asynccontextmanager
async def spawning(
    limits: SessionSettings | None = None, *, command: str = "", **settings: object
) -> AsyncIterator[KubernetesSpawner]:
    """A spawner whose sessions run a Python program, by default one that does nothing."""
    program = ["python3", "-c", command or "import time; time.sleep(1000)"]
    patch = {"spec": {"containers": [{"name": "session", "command": program, "args": None}]}}
    chosen = {"instance": f"faults-{secrets.token_hex(3)}", "session": {"patch": patch}, **settings}
    spawner = KubernetesSpawner(
        cluster().settings(memory_request_bytes=MIB, **chosen), limits or SessionSettings(memory_bytes=128 * MIB)
    )
    async with spawner:
        yield spawner
        for name in await spawner.list():
            path = spawner.cluster.path("pods", f"{chosen['instance']}-{name}")
            await spawner.cluster.ask("DELETE", path, query={"gracePeriodSeconds": "0"})


def request() -> SessionRequest:
    name = f"s-{secrets.token_hex(4)}"
    return SessionRequest(name, published(build("shared")), f"/user/{name}/", secrets.token_urlsafe(16), {})


async def begun(spawner: KubernetesSpawner) -> str:
    """The name of a session that runs."""
    wanted = request()
    await spawner.start(wanted)
    await becomes(spawner, wanted.name, Running.RUNNING)
    return wanted.name


async def becomes(spawner: KubernetesSpawner, name: str, state: Running) -> Status:
    async def is_so() -> bool:
        return (await spawner.poll(name)).running is state

    await until(is_so, SECONDS, f"{name} is {state}")
    return await spawner.poll(name)


async def fails(spawner: KubernetesSpawner, name: str) -> tuple[BinderyError, tuple[str, ...]]:
    async def has() -> bool:
        return (await spawner.poll(name)).failure is not None

    await until(has, SECONDS, f"{name} has failed")
    status = await spawner.poll(name)
    assert status.failure is not None
    return status.failure, status.steps


async def test_a_session_that_takes_too_much_memory_is_ended_and_says_so() -> None:
    async with spawning(command=HOG) as spawner:
        wanted = request()
        await spawner.start(wanted)
        error, _ = await fails(spawner, wanted.name)
        assert "more than its 128 MiB of memory" in error.message


async def test_a_cluster_without_room_says_what_is_missing() -> None:
    limits = SessionSettings(cpus=5000)
    async with spawning(limits, cpu_request=5000, schedule_timeout_seconds=2) as spawner:
        wanted = request()
        await spawner.start(wanted)
        error, steps = await fails(spawner, wanted.name)
        assert isinstance(error, QuotaReached)
        assert "Insufficient cpu" in error.message
        assert "Insufficient cpu" in steps[0]


async def test_pods_that_the_cluster_refuses_are_explained() -> None:
    patch = {"spec": {"containers": [{"name": "session", "imagePullPolicy": "Sometimes"}]}}
    async with spawning(session={"patch": patch}) as spawner:
        with pytest.raises(BinderyError, match="could not be made") as refused:
            await spawner.start(request())
        assert "Sometimes" in refused.value.hint


async def test_a_pod_that_is_removed_behind_our_back_says_so() -> None:
    async with spawning() as spawner:
        name = await begun(spawner)
        path = spawner.cluster.path("pods", f"{spawner.instance}-{name}")
        await spawner.cluster.ask("DELETE", path, query={"gracePeriodSeconds": "30"})
        error, _ = await fails(spawner, name)
        assert "removed from the cluster" in error.message


async def test_every_replica_knows_every_session() -> None:
    async with spawning() as spawner:
        name = await begun(spawner)
        other = KubernetesSpawner(spawner.settings, SessionSettings())
        async with other:
            assert await other.list() == [name]
            assert await other.address(name) == await spawner.address(name)
            before = other.cluster.requests
            for _ in range(100):
                assert (await other.poll(name)).running is Running.RUNNING
            assert other.cluster.requests == before
            await other.stop(name)
        await becomes(spawner, name, Running.MISSING)


async def test_the_api_goes_away_and_comes_back(tmp_path: Path) -> None:
    async with ApiGoesAway(cluster().kubeconfig, tmp_path / "config") as way, spawning(kubeconfig=way.file) as spawner:
        name = await begun(spawner)
        await way.go()

        async def is_unsure() -> bool:
            with contextlib.suppress(EngineUnavailable):
                await spawner.list()
                return False
            return True

        await until(is_unsure, SECONDS, "the spawner notices")
        assert (await spawner.poll(name)).running is Running.RUNNING
        with pytest.raises(EngineUnavailable):
            await spawner.poll("somebody-else")
        launched = asyncio.create_task(begun(spawner))
        await asyncio.sleep(0)
        await way.come_back()
        assert sorted([name, await launched]) == await spawner.list()
