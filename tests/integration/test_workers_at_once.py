"""Several workers, each a process, over one PostgreSQL: what one leaves when it is killed, another one finishes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from db.builds import Build, BuildStore, Wanted
from db.engine import Database
from db.events import Event
from db.states import BuildState
from db.wakeups import Wakeups
from tests.support.databases import opened
from tests.support.git_server import GitServer, serve_git
from tests.support.service import environment
from tests.support.wait import until
from tests.support.worker_process import Orders


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with opened("postgresql", tmp_path) as database:
        yield database


@pytest.fixture
async def git_server(tmp_path: Path) -> AsyncIterator[GitServer]:
    async with serve_git(tmp_path / "git") as server:
        yield server


@contextlib.asynccontextmanager
async def worker(orders: Orders) -> AsyncIterator[asyncio.subprocess.Process]:
    """One that works while the block runs, unless it is killed before."""
    argv = [sys.executable, "-m", "tests.support.worker_process", orders.to_json()]
    with (Path(orders.folder) / "workers.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(*argv, env=environment(), stdout=log, stderr=log)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def asked(builds: BuildStore, git_server: GitServer, name: str) -> Build:
    repository = git_server.repository(name)
    commit = repository.commit({"requirements.txt": f"# {name}\n"})
    url = f"{git_server.url}/{name}"
    wanted = Wanted(f"image-{name}:1", "gh", f"{name}/{commit}", url, commit, url)
    build, _ = await builds.request(wanted, [Event("waiting", "Waiting for build to start...\n")], 1.0)
    return build


async def ended(builds: BuildStore, build: Build) -> Build:
    async def has() -> bool:
        found = await builds.get(build.id)
        return found is not None and found.ended

    await until(has, 60, "the build has ended")
    found = await builds.get(build.id)
    assert found is not None
    return found


@pytest.mark.parametrize("state", ["fetching", "planning", "building", "composing"])
async def test_a_build_whose_worker_is_killed_is_finished_by_another(
    state: str, database: Database, git_server: GitServer, tmp_path: Path
) -> None:
    builds = BuildStore(database, Wakeups())
    async with worker(Orders(database.url, str(tmp_path), state)) as doomed:
        build = await asked(builds, git_server, "o/r")
        await until(lambda: bool(list(tmp_path.glob("hangs-*"))), 60, "it hangs")
        reached = await builds.get(build.id)
        assert reached is not None
        assert reached.state == state
        async with worker(Orders(database.url, str(tmp_path))):
            doomed.kill()
            done = await ended(builds, build)
    assert (done.state, done.attempt) == (BuildState.BUILT, 2)
    assert Counter((tmp_path / "made").read_text().splitlines()) == {
        f"environment {build.id}": 1,
        f"image {build.id}": 1,
    }
    log = await builds.events(build.id, 0)
    assert [event.seq for event in log] == list(range(1, done.last_seq + 1))
    messages = [json.loads(event.payload)["message"] for event in log]
    assert "The service was restarted: building again, attempt 2.\n" in messages


async def test_many_builds_are_shared_and_none_is_made_twice(
    database: Database, git_server: GitServer, tmp_path: Path
) -> None:
    builds = BuildStore(database, Wakeups())
    wanted = [await asked(builds, git_server, f"o/r{n}") for n in range(4)]
    orders = Orders(database.url, str(tmp_path))
    async with worker(orders), worker(orders):
        done = [await ended(builds, build) for build in wanted]
    assert {(build.state, build.attempt) for build in done} == {(BuildState.BUILT, 1)}
    made = Counter((tmp_path / "made").read_text().splitlines())
    assert set(made.values()) == {1}
    assert len(made) == 8
