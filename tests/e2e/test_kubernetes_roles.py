"""Launches in a cluster whose worker is killed and whose API goes away, with a process for each role."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.cluster_roles import Roles, roles
from tests.support.git_server import GitServer
from tests.support.jupyter import notebook
from tests.support.service import Visit
from tests.support.wait import until

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def world(git_server: GitServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Roles]:
    async with roles(git_server, tmp_path_factory.mktemp("roles")) as found:
        yield found


def repository(git_server: GitServer, start_seconds: int = 0) -> str:
    """The link of a new repository, whose server takes so long to begin."""
    name = f"roles/{uuid.uuid4().hex[:12]}"
    files = {"requirements.txt": "six\n", "a.ipynb": "{}"}
    slow = {"start": f'#!/bin/sh\nsleep {start_seconds}\nexec "$@"\n'} if start_seconds else {}
    git_server.repository(name).commit(files | slow)
    return f"gh/{name}/HEAD"


def named(visit: Visit) -> str:
    """The session of a launch that is ready."""
    return str(visit.last["url"]).partition("/user/")[2].rstrip("/")


async def still_answers(world: Roles, visit: Visit) -> None:
    async with notebook(visit.last) as server, server.kernel() as kernel:
        assert "42" in (await kernel.run("print(6 * 7)")).text


async def test_a_killed_worker_leaves_every_launch_to_the_next_one(world: Roles, git_server: GitServer) -> None:
    quick, slow = repository(git_server), repository(git_server, 6)
    ready, ending = await world.launched(quick), await world.launched(quick)
    starts = await world.service.stream(slow).read("The server starts")
    asked = await world.service.stream(quick).read("Launching server")
    await world.end(named(ending))
    before = await world.uids()
    await world.kill()
    await still_answers(world, ready)
    rest = [
        await world.launched(slow, last_event_id=starts.ids[-1]),
        await world.launched(quick, last_event_id=asked.ids[-1]),
    ]

    async def are_three() -> bool:
        return set(await world.uids()) == {named(visit) for visit in (ready, *rest)}

    await until(are_three, 30, "those who wait have one pod each, and who left has none")
    after = await world.uids()
    assert {name: uid for name, uid in before.items() if name in after}.items() <= after.items()
    assert named(rest[0]) in before


async def test_a_killed_worker_leaves_a_pod_that_waits_for_a_node(world: Roles, git_server: GitServer) -> None:
    link = repository(git_server)
    async with world.no_room():
        waits = await world.service.stream(link).read("No node has room")
        before = set((await world.uids()).items())
        await world.kill()
    resumed = await world.launched(link, last_event_id=waits.ids[-1])
    after = await world.uids()
    assert (named(resumed), after[named(resumed)]) in before
    assert len(after) == len(before)


async def test_a_launch_that_its_visitor_ends_leaves_nothing(world: Roles, git_server: GitServer) -> None:
    link = repository(git_server, 300)
    before = await world.uids()
    await world.service.stream(link).read("The server starts")
    (name,) = set(await world.uids()) - set(before)
    await world.end(name)

    async def is_gone() -> bool:
        return name not in await world.uids()

    await until(is_gone, 20, "the pod is removed")


async def test_while_the_api_is_away_sessions_go_on_and_launches_wait(world: Roles, git_server: GitServer) -> None:
    quick, slow = repository(git_server), repository(git_server, 5)
    ready = await world.launched(quick)
    async with notebook(ready.last) as server, server.kernel() as kernel:
        starts = await world.service.stream(slow).read("The server starts")
        await world.way.go()
        try:
            asked = asyncio.create_task(world.launched(quick))
            # Its pod is known: it needs no API to answer.
            await world.launched(slow, last_event_id=starts.ids[-1])
            assert "42" in (await kernel.run("print(6 * 7)")).text
            assert not asked.done()
        finally:
            await world.way.come_back()
        assert named(await asked) in await world.uids()
        assert "43" in (await kernel.run("print(6 * 7 + 1)")).text


async def test_when_all_have_left_nothing_is_left(world: Roles) -> None:
    await world.end()
    await until(world.nothing_left, 60, "no pod and no secret is there")
