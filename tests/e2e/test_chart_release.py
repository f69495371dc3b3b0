"""The chart installed by Helm on a real cluster, two of each part, over a real PostgreSQL and a real registry."""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from bindery.cluster import Cluster
from tests.support import cluster_builds
from tests.support.chart_release import Release
from tests.support.cluster import cluster, cluster_registry
from tests.support.cluster_images import published
from tests.support.cluster_kinds import objects
from tests.support.git_server import GitServer, serve_git
from tests.support.helm import Refusal, merged
from tests.support.jupyter import notebook
from tests.support.postgres import Postgres, serve_postgres
from tests.support.service import Visit
from tests.support.service_image import service_image
from tests.support.wait import until

pytestmark = pytest.mark.asyncio(loop_scope="session")
PARTS = ("web", "worker", "proxy")


@dataclass(frozen=True)
class World:
    """The release, and what stands around it."""

    api: Cluster
    release: Release
    values: dict[str, Any]
    git: GitServer
    database: Postgres
    #: Kind and name of what was in the namespace before.
    others: set[tuple[str, str]]

    async def urls(self, part: str) -> list[str]:
        """Where each pod of a part is that is ready."""
        ready = [pod for pod in await self.release.pods(part) if _is_ready(pod)]
        return [f"http://{pod['status']['podIP']}:8585/" for pod in ready]

    async def names(self) -> set[str]:
        """The pods of all parts."""
        return {pod["metadata"]["name"] for part in PARTS for pod in await self.release.pods(part)}

    async def available(self) -> None:
        await self.release.available(*PARTS)

    async def launch(self, link: str) -> Visit:
        """A launch at the first web pod."""
        visit = await Visit(f"{(await self.urls('web'))[0]}build/{link}").read()
        assert visit.last["phase"] == "ready", visit.text
        return visit

    async def kill(self, pod: dict[str, Any]) -> None:
        """End a pod at once."""
        path = self.api.path("pods", pod["metadata"]["name"])
        await self.api.ask("DELETE", path, query={"gracePeriodSeconds": "0"})

    async def two_answer(self) -> bool:
        """Whether two web pods are ready."""
        return len(await self.urls("web")) == 2

    def repository(self, start: str = "") -> str:
        """The link of a new repository that asks for nothing but the server, with a start script or none."""
        name = f"chart/{uuid.uuid4().hex[:12]}"
        script = {"start": start} if start else {}
        self.git.repository(name).commit({"requirements.txt": "", "a.ipynb": "{}", **script})
        return f"gh/{name}/HEAD"


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any((each["type"], each["status"]) == ("Ready", "True") for each in conditions)


def values(name: str, git: GitServer, database: Postgres) -> dict[str, Any]:
    image, _, tag = published(service_image()).rpartition(":")
    small = {"replicas": 2, "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "1Gi"}}}
    build = cluster_builds.pods()
    return {
        "fullnameOverride": name,
        "image": {"repository": image, "tag": tag},
        "builder": {"image": build["image"]},
        "registry": {"url": f"{cluster_registry()}/bindery-tests"},
        "database": {"existingSecret": "", "url": database.url()},
        **dict.fromkeys(PARTS, small),
        "shutdown": {"delaySeconds": 1, "drainSeconds": 15},
        "settings": {
            "allow_private_repository_hosts": True,
            "providers": {"gh": {"url": git.url}, "resolution_ttl_seconds": 0},
            "registry": {"plain_http_hosts": [cluster_registry()]},
            "build": {"os_image": cluster_builds.os_image(), "lease_seconds": 10},
            "session": {"check_seconds": 0.5, "unopened_seconds": 900},
            "kubernetes": {"build": build, "memory_request_bytes": 128 * 2**20},
        },
    }


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    found, name = cluster(), f"chart-{secrets.token_hex(3)}"
    host = cluster_registry().partition(":")[0]
    with serve_postgres(host) as database:
        async with serve_git(tmp_path_factory.mktemp("git"), host) as git, Cluster(found.settings()) as api:
            release = Release(api, found.kubeconfig, name, tmp_path_factory.mktemp("helm"))
            await release.prepare()
            world = World(api, release, values(name, git, database), git, database, await objects(api))
            await release.install(world.values)
            yield world
            await release.uninstall()
            await release.end_sessions()


async def get(url: str) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as client, client.get(url) as answer:
        return answer.status, await answer.json()


async def page(url: str) -> str:
    async with aiohttp.ClientSession() as client, client.get(url) as answer:
        return await answer.text()


async def test_two_of_each_part_are_there(world: World) -> None:
    for part in PARTS:
        urls = await world.urls(part)
        assert len(urls) == 2
        for url in urls:
            status, health = await get(f"{url}health/ready")
            assert (status, health["ok"]) == (200, True)


async def test_a_stream_resumes_at_the_other_replica_and_either_proxy_leads_to_the_session(world: World) -> None:
    await world.available()
    first, second = await world.urls("web")
    link = world.repository()
    begun = await Visit(f"{first}build/{link}").read(until_text="Plan:")
    rest = await Visit(f"{second}build/{link}", last_event_id=begun.ids[-1]).read()
    assert rest.last["phase"] == "ready", rest.text
    assert not set(begun.ids) & set(rest.ids)
    place = rest.last["url"].partition("/user/")[2]
    for proxy in await world.urls("proxy"):
        async with notebook({**rest.last, "url": f"{proxy}user/{place}"}) as server, server.kernel() as kernel:
            assert "42" in (await kernel.run("print(6 * 7)")).text


async def test_a_restart_of_the_database_costs_nobody_anything(world: World) -> None:
    await world.available()
    link = world.repository()
    ready = (await world.launch(link)).last
    place = ready["url"].partition("/user/")[2]
    proxy = (await world.urls("proxy"))[0]
    async with notebook({**ready, "url": f"{proxy}user/{place}"}) as server, server.kernel() as kernel:
        await asyncio.to_thread(world.database.restart, "immediate")
        assert "2" in (await kernel.run("print(1 + 1)")).text
        again = await world.launch(link)
        assert "Found built image" in again.text
        assert "3" in (await kernel.run("print(1 + 2)")).text


async def test_when_the_leading_worker_is_killed_the_other_one_goes_on(world: World) -> None:
    await world.available()
    link = world.repository()
    kept = (await world.launch(link)).last
    await world.kill((await world.release.pods("worker"))[0])
    assert (await world.launch(link)).last["url"] != kept["url"]
    place = kept["url"].partition("/user/")[2]
    proxy = (await world.urls("proxy"))[0]
    async with notebook({**kept, "url": f"{proxy}user/{place}"}) as server, server.kernel() as kernel:
        assert "5" in (await kernel.run("print(2 + 3)")).text


async def test_an_upgrade_that_cannot_come_up_leaves_the_old_version_serving(world: World) -> None:
    await world.available()
    pods = await world.names()
    broken = merged(world.values, {"image": {"tag": "nowhere"}, "settings": {"site": {"banner": "Nowhere"}}})
    with pytest.raises(Refusal, match="pre-upgrade hooks failed"):
        await world.release.upgrade(broken, seconds=3)
    assert await world.names() == pods
    with pytest.raises(Refusal, match="timed out"):
        await world.release.upgrade(merged(broken, {"migration": {"enabled": False}}), seconds=3)

    async def begun() -> bool:
        return await world.names() > pods

    await until(begun, 60, "pods of the new version are there beside all of the old one")
    await world.kill(next(pod for pod in await world.release.pods("web") if _is_ready(pod)))
    await until(world.two_answer, 60, "a pod of the old version came instead")
    for url in await world.urls("web"):
        assert "Nowhere" not in await page(url)
    await world.launch(world.repository())

    await world.release.roll_back(1)
    await world.available()
    assert len(await world.names() & pods) == 5


async def test_an_upgrade_lets_websockets_end_in_peace_and_launches_go_on(world: World) -> None:
    await world.available()
    pods = await world.names()
    slow = world.repository('#!/bin/sh\nsleep 20\nexec "$@"\n')
    ready = (await world.launch(world.repository())).last
    begun = await Visit(f"{(await world.urls('web'))[0]}build/{slow}").read(until_text="The server starts")
    place = ready["url"].partition("/user/")[2]
    old = (await world.urls("proxy"))[0]
    async with notebook({**ready, "url": f"{old}user/{place}"}) as server, server.kernel() as kernel:
        await kernel.run("x = 41")
        newer = {"settings": {"site": {"banner": "Newer"}}, "web": {"autoscaling": {"enabled": True}}}
        upgrade = asyncio.create_task(world.release.upgrade(merged(world.values, newer)))

        async def leaves() -> bool:
            return old not in await world.urls("proxy")

        await until(leaves, 120, "the old proxy was asked to end")
        assert "42" in (await kernel.run("print(x + 1)")).text
    await upgrade
    await world.available()
    assert not await world.names() & pods
    assert "Newer" in await page((await world.urls("web"))[0])
    # What is scaled from now on does not begin at one.
    replicas = [each["spec"]["replicas"] for each in await world.release.manifest() if each["kind"] == "Deployment"]
    assert replicas == [2, 2, 2]
    made = [pod["metadata"]["creationTimestamp"] for part in PARTS for pod in await world.release.pods(part)]
    assert await world.release.migrated() <= datetime.fromisoformat(min(made))
    rest = await Visit(f"{(await world.urls('web'))[0]}build/{slow}", last_event_id=begun.ids[-1]).read()
    assert rest.last["phase"] == "ready", rest.text
    again = (await world.urls("proxy"))[0]
    async with notebook({**ready, "url": f"{again}user/{place}"}) as server, server.kernel() as kernel:
        assert "1" in (await kernel.run("print(1)")).text


async def test_nothing_is_left_of_it_and_it_can_be_installed_again(world: World) -> None:
    await world.release.uninstall()
    await world.release.end_sessions()

    async def gone() -> bool:
        return await objects(world.api) <= world.others

    await until(gone, 60, "nothing is left")
    small = {"web": {"replicas": 1}, "worker": {"replicas": 1}, "proxy": {"enabled": False}}
    await world.release.install(merged(world.values, small))
    await world.launch(world.repository())
