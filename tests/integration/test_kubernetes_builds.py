"""Builds in Jobs of a real cluster: what goes wrong there is explained, shared, taken over and removed."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bindery.errors import BinderyError, BuildOutOfMemory, ClusterRefused, EngineUnavailable, InstallFailed
from bindery.process import run
from bindery.rights import BUILDS, missing
from builder.engines.base import BuildJob, Handover
from builder.engines.kubernetes import KubernetesEngine
from builder.engines.kubernetes_jobs import holders
from builder.told import marks
from db.event_log import LoggedEvent, encode
from db.events import Event
from tests.contract.test_environment_builder import drain, hear, messages, planned, running, stopped
from tests.support import cluster_builds, kubeconfigs
from tests.support.builds import builds_running
from tests.support.cut_connections import cutting
from tests.support.service import environment
from tests.support.wait import until

BUILD_SECONDS = 240.0
NUMBERS = itertools.count()
PREFIX = "bindery-tests"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("builds") / "data"


@pytest.fixture
async def engine(data_dir: Path) -> AsyncIterator[KubernetesEngine]:
    async with cluster_builds.building(cluster_builds.settings(data_dir, PREFIX)) as found:
        yield found
        # What one test leaves must not make another's wait.
        await found.reap(builds_running())


def command(words: str) -> str:
    """A Dockerfile with one step, which no earlier run has built."""
    return f"FROM {cluster_builds.os_image()}\nRUN echo {os.getpid()}-{next(NUMBERS)} && {words}\n"


async def dockerfile(engine: KubernetesEngine, folder: Path, words: str) -> BuildJob:
    await asyncio.to_thread(folder.mkdir, exist_ok=True)
    return await planned(engine, folder, {"Dockerfile": command(words)})


async def jobs(engine: KubernetesEngine) -> list[dict[str, Any]]:
    api = engine.jobs.cluster
    found = (await api.ask("GET", api.path("jobs")))["items"]
    return [item for item in found if "deletionTimestamp" not in item["metadata"]]


async def secrets(engine: KubernetesEngine) -> list[str]:
    api = engine.jobs.cluster
    query = {"labelSelector": "app.kubernetes.io/component=build"}
    return [item["metadata"]["name"] for item in (await api.ask("GET", api.path("secrets"), query=query))["items"]]


async def test_a_repositorys_dockerfile_is_built_and_leaves_only_its_image(
    engine: KubernetesEngine, tmp_path: Path
) -> None:
    job = await dockerfile(engine, tmp_path / "a", "echo made >/srv/made")
    said = await drain(engine.environment(job)) + await drain(engine.image(job))
    assert any(line.startswith("Step 2/2: RUN echo") for line in said)
    assert f"{os.getpid()}" in "".join(said)
    assert await engine.has_image(job.image)
    assert await jobs(engine) == []

    async def clean() -> bool:
        return await secrets(engine) == []

    await until(clean, what="the Job's Secret is gone")
    kept = engine.shelf.client.tags(engine.shelf.location.repository("bindery-context"))
    assert [tag async for tag in kept if tag.startswith(engine.jobs.contexts)] == []


async def test_a_hostile_dockerfile_cannot_read_the_jobs_login(engine: KubernetesEngine, tmp_path: Path) -> None:
    escape = """perl -e 'mkdir "/x"; chroot "/x" or exit 0; print "got out\\n"; exit 9'"""
    look = "for p in /proc/[0-9]*; do cat $p/root/run/bindery/order.json 2>/dev/null && exit 8; done; true"
    job = await dockerfile(engine, tmp_path / "a", f"{escape} && {look} && test ! -e /run/bindery")
    said = await drain(engine.environment(job))
    assert not any("bindery-context" in line for line in said if not line.startswith("Step "))


async def test_a_step_that_fails_is_shown_with_its_words(engine: KubernetesEngine, tmp_path: Path) -> None:
    job = await dockerfile(engine, tmp_path / "a", "echo this is why && exit 3")
    heard: list[Event] = []
    with pytest.raises(InstallFailed, match=r"Dockerfile cannot be built.*exit code: 3"):
        await hear(engine.environment(job), heard)
    assert "this is why\n" in [event.message for event in heard]
    assert await engine.find(job.plan.environment_key) is None
    assert await jobs(engine) == []


async def test_a_build_that_eats_its_memory_is_told_so(data_dir: Path, tmp_path: Path) -> None:
    small = cluster_builds.settings(data_dir, PREFIX, memory_bytes=384 * 2**20)
    async with cluster_builds.building(small) as engine:
        job = await dockerfile(engine, tmp_path / "a", """perl -e '$x = "a" x 2000000000; print length $x'""")
        with pytest.raises(BuildOutOfMemory, match="memory of 384 MiB") as problem:
            await drain(engine.environment(job))
    assert "BINDERY_KUBERNETES__BUILD__MEMORY_BYTES" in problem.value.hint


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        ({"memory_bytes": 2**45, "memory_request_bytes": 2**45}, "within 1 seconds: 1 Insufficient memory"),
        ({"image": "127.0.0.1:1/bindery/none:1"}, "cannot pull the builder's image 127.0.0.1:1/bindery/none:1"),
    ],
)
async def test_what_keeps_a_job_from_starting_is_explained(
    build: dict[str, Any], reason: str, data_dir: Path, tmp_path: Path
) -> None:
    chosen = cluster_builds.settings(data_dir, PREFIX, **build)
    quick = chosen.kubernetes.model_copy(update={"schedule_timeout_seconds": 1.0})
    async with cluster_builds.building(chosen.model_copy(update={"kubernetes": quick})) as engine:
        job = await dockerfile(engine, tmp_path / "a", "true")
        with pytest.raises(EngineUnavailable) as problem:
            await drain(engine.environment(job))
        assert reason in problem.value.message
        assert await jobs(engine) == []


async def test_two_workers_share_a_job_and_one_that_leaves_does_not_end_it(
    engine: KubernetesEngine, data_dir: Path, tmp_path: Path
) -> None:
    mark = f"sleep 15.{os.getpid()}{next(NUMBERS)}"
    first = await dockerfile(engine, tmp_path / "a", mark)
    elsewhere = cluster_builds.settings(data_dir.parent / "other", PREFIX)
    async with cluster_builds.building(elsewhere) as other:
        second = replace(first, build_id=f"{first.build_id}-2", image=f"{first.image}-2")
        works = [
            asyncio.create_task(drain(engine.environment(first))),
            asyncio.create_task(drain(other.environment(second))),
        ]
        await until(lambda: running(mark), BUILD_SECONDS, "the step runs")
        found = await jobs(engine)
        assert [sorted(holders(item)) for item in found] == [sorted([first.build_id, second.build_id])]
        await stopped(works[0])
        assert running(mark)
        said = await works[1]
    assert sum(line.startswith("Step 2/2") for line in said) == 1
    assert await engine.find(first.plan.environment_key) is not None


async def test_a_worker_that_takes_over_goes_on_where_the_log_ends(
    engine: KubernetesEngine, data_dir: Path, tmp_path: Path
) -> None:
    mark = f"sleep 12.{os.getpid()}{next(NUMBERS)}"
    job = replace(await dockerfile(engine, tmp_path / "a", f"echo before && {mark} && echo after"), handover=Handover())
    heard: list[Event] = []
    task = asyncio.create_task(hear(engine.environment(job), heard))
    await until(lambda: running(mark) and any(event.message == "before\n" for event in heard), BUILD_SECONDS)
    job.handover.wanted = True
    await stopped(task)
    assert running(mark)
    async with cluster_builds.building(cluster_builds.settings(data_dir.parent / "next", PREFIX)) as other:
        await other.reap(builds_running(job.build_id))
        told = marks(LoggedEvent(number, encode(event)) for number, event in enumerate(heard))
        second = await drain(other.environment(replace(job, told=told, handover=Handover())))
    everything = [*(event.message for event in heard), *second]
    assert [everything.count(line) for line in ("before\n", "after\n")] == [1, 1]
    assert "after\n" in second
    assert await engine.find(job.plan.environment_key) is not None


async def test_a_pod_that_is_lost_is_built_again(engine: KubernetesEngine, tmp_path: Path) -> None:
    mark = f"sleep 8.{os.getpid()}{next(NUMBERS)}"
    job = await dockerfile(engine, tmp_path / "a", mark)
    work = asyncio.create_task(drain(engine.environment(job)))
    await until(lambda: running(mark), BUILD_SECONDS, "the step runs")
    api = engine.jobs.cluster
    await api.ask("DELETE", api.path("jobs", (await jobs(engine))[0]["metadata"]["name"]))
    for pod in (await api.ask("GET", api.path("pods")))["items"]:
        with contextlib.suppress(BinderyError):
            await api.ask("DELETE", api.path("pods", pod["metadata"]["name"]), query={"gracePeriodSeconds": "0"})
    said = await work
    assert "The cluster has lost the build's pod: building again\n" in said
    assert await engine.find(job.plan.environment_key) is not None


async def test_leftovers_of_builds_that_are_no_more_are_removed(engine: KubernetesEngine, tmp_path: Path) -> None:
    mark = f"sleep 600.{os.getpid()}{next(NUMBERS)}"
    job = replace(await dockerfile(engine, tmp_path / "a", f"echo begun && {mark}"), handover=Handover(True))
    heard: list[Event] = []
    work = asyncio.create_task(hear(engine.environment(job), heard))
    # A node that has not told yet that a pod runs may take a minute to end it (Kubernetes 1.20).
    await until(lambda: running(mark) and "begun\n" in messages(heard), BUILD_SECONDS, "the step is heard")
    await stopped(work)
    await engine.reap(builds_running(job.build_id))
    assert len(await jobs(engine)) == 1
    await engine.reap(builds_running("another"))
    assert await jobs(engine) == []
    await until(lambda: not running(mark), what="the step has ended")


async def test_a_log_that_breaks_off_is_read_on_when_the_api_is_back(data_dir: Path, tmp_path: Path) -> None:
    api = kubeconfigs.server()
    assert api.host is not None
    async with cutting(api.host, api.port or 443) as way:
        chosen = cluster_builds.settings(data_dir.parent / "cut", PREFIX)
        config = await asyncio.to_thread(kubeconfigs.through, way.own_port, tmp_path / "kubeconfig")
        there = chosen.kubernetes.model_copy(update={"kubeconfig": config})
        async with cluster_builds.building(chosen.model_copy(update={"kubernetes": there})) as engine:
            count = "for i in $(seq 1 12); do echo tick-$i; sleep 0.5; done"
            job = await dockerfile(engine, tmp_path / "a", count)
            heard: list[Event] = []

            def was_heard(line: str) -> bool:
                return line in messages(heard)

            work = asyncio.create_task(hear(engine.environment(job), heard))
            for number in (2, 7):
                await until(partial(was_heard, f"tick-{number}\n"), BUILD_SECONDS)
                way.away = number == 7
                way.cut()
            await until(lambda: way.refused >= 2 or work.done(), what="the API is missed")
            way.away = False
            await work
    assert way.cuts >= 2
    assert way.refused >= 2
    assert [line for line in messages(heard) if line.startswith("tick-")] == [f"tick-{i}\n" for i in range(1, 13)]


async def test_the_rights_that_are_documented_are_enough(data_dir: Path, tmp_path: Path) -> None:
    chosen = cluster_builds.settings(data_dir.parent / "limited", PREFIX)
    config = await kubeconfigs.limited(documented_rules(), tmp_path / "kubeconfig")
    less = chosen.kubernetes.model_copy(update={"kubeconfig": config})
    async with cluster_builds.building(chosen.model_copy(update={"kubernetes": less})) as engine:
        await engine.reap(builds_running())
        job = await dockerfile(engine, tmp_path / "a", "true")
        await drain(engine.environment(job))
        assert await engine.find(job.plan.environment_key) is not None
        with pytest.raises(ClusterRefused, match="forbidden"):
            await engine.jobs.cluster.ask("GET", "/api/v1/nodes")
        assert await missing(engine.jobs.cluster, BUILDS) == []
    variables = cluster_builds.environment(PREFIX) | {"BINDERY_KUBERNETES__KUBECONFIG": str(config)}
    argv = (sys.executable, "-m", "bindery", "doctor", "--data-dir", tmp_path / "doctor")
    said = (await run(argv, env=environment(**variables), timeout_seconds=120)).stdout.decode()
    assert "but rights are missing there" in said
    assert "Allow its account in that namespace: create pods, delete pods, list events, watch events." in said


def documented_rules() -> list[dict[str, Any]]:
    """The Role in the documentation, row by row."""
    text = (cluster_builds.ROOT / "docs" / "builds-on-kubernetes.md").read_text()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    known = {"core": "", "batch": "batch"}
    rules = [
        {"apiGroups": [known[row[0]]], "resources": [row[1]], "verbs": row[2].split(", ")}
        for row in rows
        if row[0] in known
    ]
    given = {(rule["resources"][0], verb) for rule in rules for verb in rule["verbs"]}
    assert given == {(f"{right.kind}/{right.part}".rstrip("/"), right.verb) for right in BUILDS}
    return rules
