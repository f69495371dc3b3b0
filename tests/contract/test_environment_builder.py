"""What every `EnvironmentBuilder` promises, whichever engine builds."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import subprocess
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import pytest

from bindery.errors import PostBuildFailed, Unsatisfiable
from bindery.settings import BuildSettings, Settings
from builder import detect
from builder.engines.base import BuildJob, EnvironmentBuilder
from builder.engines.docker import DockerEngine
from builder.engines.kubernetes import KubernetesEngine
from builder.engines.process import ProcessEngine
from builder.fetch import read_tree
from db.events import Event
from tests.support import cluster_builds, docker
from tests.support.builds import builds_running
from tests.support.wait import until

BUILD_SECONDS = 300.0
NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("contract") / "data"


@pytest.fixture(params=["process", "docker", "kubernetes"])
async def builder(request: pytest.FixtureRequest, data_dir: Path) -> AsyncIterator[EnvironmentBuilder]:
    """Each engine, on a data directory that its tests here share."""
    folder = data_dir / request.param
    if request.param == "process":
        yield await ProcessEngine.open(Settings(data_dir=folder))
        return
    if request.param == "kubernetes":
        async with cluster_builds.building(cluster_builds.settings(folder, "bindery-tests")) as engine:
            yield engine
        return
    settings = Settings(data_dir=folder, build=BuildSettings(os_image=docker.os_image()))
    yield await DockerEngine.open(settings, docker.engine().environment)
    names = docker.engine().run("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "bindery-test-contract").split()
    ours = [name for name in names if f":{os.getpid()}-" in name]
    if ours:
        docker.engine().run("image", "rm", *ours)


class TestEnvironmentBuilder:
    async def test_what_is_there_is_not_made_again(self, builder: EnvironmentBuilder, tmp_path: Path) -> None:
        job = await planned(builder, tmp_path, {"requirements.txt": "six==1.17.0\n"})
        await drain(builder.environment(job))
        first = await builder.find(job.plan.environment_key)
        assert first is not None
        assert "six==1.17.0\n" in first.lock
        assert not first.joined
        await drain(builder.image(job))
        again = await drain(builder.environment(job)) + await drain(builder.image(job))
        assert sum("reused" in line for line in again) >= 2
        assert not any("Installed" in line for line in again)
        assert await builder.find(job.plan.environment_key) == first

    async def test_an_unknown_key_is_not_found(self, builder: EnvironmentBuilder) -> None:
        assert await builder.find("0" * 32) is None

    async def test_what_cannot_be_done_leaves_nothing_that_looks_finished(
        self, builder: EnvironmentBuilder, tmp_path: Path
    ) -> None:
        job = await planned(builder, tmp_path, {"requirements.txt": "six==1.16.0\nsix==1.17.0\n"})
        with pytest.raises(Unsatisfiable):
            await drain(builder.environment(job))
        assert await builder.find(job.plan.environment_key) is None

    async def test_a_failed_post_build_keeps_the_environment_and_no_image(
        self, builder: EnvironmentBuilder, tmp_path: Path
    ) -> None:
        job = await planned(builder, tmp_path, {"requirements.txt": "six==1.17.0\n", "postBuild": "exit 7\n"})
        await drain(builder.environment(job))
        for _ in range(2):
            with pytest.raises(PostBuildFailed, match="exit code 7"):
                await drain(builder.image(job))
        assert await builder.find(job.plan.environment_key) is not None

    async def test_when_it_is_cancelled_everything_it_started_has_ended(
        self, builder: EnvironmentBuilder, tmp_path: Path
    ) -> None:
        job, sleep = await endless(builder, tmp_path)
        heard: list[Event] = []
        work = asyncio.create_task(hear(builder.image(job), heard))
        await until(lambda: has_begun(heard) or work.done(), BUILD_SECONDS)
        assert running(sleep)
        await stopped(work)
        await until(lambda: not running(sleep))

    async def test_a_build_that_begins_while_others_are_looked_for_loses_nothing(
        self, builder: EnvironmentBuilder, tmp_path: Path
    ) -> None:
        job, sleep = await endless(builder, tmp_path)
        heard: list[Event] = []
        work: list[asyncio.Task[None]] = []

        async def begin() -> list[str]:
            if not work:
                work.append(asyncio.create_task(hear(builder.image(job), heard)))
            await until(lambda: has_begun(heard) or work[0].done(), BUILD_SECONDS)
            return [job.build_id]

        await builder.reap(begin)
        assert running(sleep)
        await stopped(work[0])
        await until(lambda: not running(sleep))

    async def test_reaping_twice_is_no_error(self, builder: EnvironmentBuilder) -> None:
        await builder.reap(builds_running())
        await builder.reap(builds_running("build-of-nobody"))


async def planned(builder: EnvironmentBuilder, folder: Path, files: dict[str, str]) -> BuildJob:
    """The job of a commit of these files."""
    environment = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    for name, text in files.items():
        (folder / name).write_text(text)

    def git(*words: str) -> str:
        argv = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", *words]
        return subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout

    git("init", "--quiet")
    git("add", "--all")
    git("commit", "--quiet", "-m", "a commit")
    commit = git("rev-parse", "HEAD").strip()
    tree = await read_tree(folder / ".git", commit, Settings().fetch)
    plan = detect.plan(tree, builder.context)
    builder.check(plan)
    number = f"{os.getpid()}-{next(NUMBERS)}"
    url = "https://example.org/people/thing"
    prefix = builder.shelf.prefix if isinstance(builder, KubernetesEngine) else ""
    return BuildJob(
        f"build-{number}", f"{prefix}bindery-test-contract:{number}", plan, folder / ".git", commit, url, url
    )


async def endless(builder: EnvironmentBuilder, folder: Path) -> tuple[BuildJob, str]:
    """The job of an image whose environment is there and whose post-build step never ends, and that step's command."""
    sleep = f"sleep 600.{os.getpid()}{next(NUMBERS)}"
    files = {"requirements.txt": "six==1.17.0\n", "postBuild": f"#!/bin/sh\necho begun\n{sleep}\n"}
    job = await planned(builder, folder, files)
    await drain(builder.environment(job))
    return job, sleep


def has_begun(heard: list[Event]) -> bool:
    """Whether the step has been heard: a cluster's node may take a minute to end a pod of which it has not told yet."""
    return "begun\n" in messages(heard)


async def drain(events: AsyncGenerator[Event, None]) -> list[str]:
    async with contextlib.aclosing(events):
        return [event.message async for event in events]


async def hear(events: AsyncGenerator[Event, None], heard: list[Event]) -> None:
    """Keep what comes, whatever happens then."""
    async with contextlib.aclosing(events):
        async for event in events:
            heard.append(event)


def messages(heard: list[Event]) -> list[str]:
    return [event.message for event in heard]


async def stopped(work: asyncio.Task[object]) -> None:
    work.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await work


def running(words: str) -> bool:
    """Whether a program runs with exactly this command line, in whatever container."""
    return subprocess.run(["pgrep", "--full", "--exact", "--", words], capture_output=True).returncode == 0
