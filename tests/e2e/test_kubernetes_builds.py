"""The service on a real cluster: which links make a Job, and what becomes of it whatever happens to the service."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from bindery.cluster import Cluster
from bindery.data_dir import announced
from tests.contract.test_environment_builder import running as is_running
from tests.support import cluster_builds
from tests.support.cluster import cluster
from tests.support.git_server import GitServer, Repository
from tests.support.jupyter import notebook
from tests.support.service import Service, Visit, environment
from tests.support.wait import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

BUILD_SECONDS = 300.0


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def running(git_server: GitServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    more = {
        **cluster_builds.environment("bindery-tests"),
        "BINDERY_PROVIDERS__RESOLUTION_TTL_SECONDS": "0",
        "BINDERY_BUILD__LEASE_SECONDS": "5",
        "BINDERY_SESSION__START_TIMEOUT_SECONDS": "120",
        "BINDERY_KUBERNETES__CPU_REQUEST": "0.05",
        "BINDERY_KUBERNETES__MEMORY_REQUEST_BYTES": "67108864",
    }
    service = Service(tmp_path_factory.mktemp("cluster") / "data", environment(git_server, **more))
    await service.start()
    yield service
    await service.stop()


def fresh(git_server: GitServer) -> tuple[Repository, str]:
    name = f"builds/{uuid.uuid4().hex[:12]}"
    return git_server.repository(name), name


async def jobs_made() -> int:
    """How many Jobs were made in the tests' namespace so far, by what the cluster tells of them."""
    async with Cluster(cluster().settings()) as api:
        query = {"fieldSelector": "involvedObject.kind=Job,reason=SuccessfulCreate"}
        return len((await api.ask("GET", api.path("events"), query=query))["items"])


async def jobs_there() -> list[str]:
    async with Cluster(cluster().settings()) as api:
        found = (await api.ask("GET", api.path("jobs")))["items"]
        return [item["metadata"]["name"] for item in found if "deletionTimestamp" not in item["metadata"]]


async def test_only_what_has_to_run_makes_a_job(running: Service, git_server: GitServer) -> None:
    repository, name = fresh(git_server)
    repository.commit({"requirements.txt": "six==1.17.0\n", "a.ipynb": "{}", "note": "first"})
    before = await jobs_made()
    first = await running.stream(f"gh/{name}/HEAD").read()
    assert first.last["phase"] == "ready", first.text
    async with notebook(first.last) as server, server.kernel() as kernel:
        done = await kernel.run("import six, os; print(six.__version__, open('note').read(), os.getuid())")
    assert "1.17.0 first 1000" in done.text

    known = await jobs_made()
    assert known - before <= 2
    repository.commit({"a.ipynb": "{ }", "note": "second"})
    second = await running.stream(f"gh/{name}/HEAD").read()
    assert second.last["phase"] == "ready", second.text
    assert await jobs_made() == known

    # A name of its own: no earlier run has built this environment.
    repository.commit({"requirements.txt": f"six==1.17.0\nidna>=3  # {uuid.uuid4()}\n"})
    third = await running.stream(f"gh/{name}/HEAD").read()
    assert third.last["phase"] == "ready", third.text
    assert await jobs_made() == known + 1
    assert "Building on node" in third.text
    assert await jobs_there() == []


async def test_an_install_that_fails_says_why(running: Service, git_server: GitServer) -> None:
    repository, name = fresh(git_server)
    repository.commit({"requirements.txt": f"six==1.16.0\nsix==1.17.0  # {uuid.uuid4()}\n"})
    visit = await running.stream(f"gh/{name}/HEAD").read()
    assert visit.last["phase"] == "failed"
    assert visit.last["code"] == "unsatisfiable_requirements"
    assert "six==1.16.0" in visit.text
    assert await jobs_there() == []


async def test_a_build_that_is_cancelled_takes_its_job_along(running: Service, git_server: GitServer) -> None:
    repository, name = fresh(git_server)
    mark = f"sleep 600.{os.getpid()}"
    repository.commit({"Dockerfile": f"FROM {cluster_builds.os_image()}\nRUN echo {uuid.uuid4()} && {mark}\n"})
    known = announced(running.data_dir)
    assert known is not None
    async with aiohttp.ClientSession(
        base_url=f"{running.url}api/v1/", headers={"Authorization": f"Bearer {known.token}"}
    ) as client:
        async with client.post("builds", json={"provider": "gh", "spec": f"{name}/HEAD"}) as response:
            build = await response.json()
        await until(lambda: is_running(mark), BUILD_SECONDS, "the step runs")
        async with client.post(f"builds/{build['id']}/cancel") as response:
            assert response.status == 202, await response.text()
    assert (await Visit(build["events_url"]).read()).last["code"] == "build_cancelled"
    await until(lambda: not is_running(mark), 30, "the step has ended")

    async def none_there() -> bool:
        return await jobs_there() == []

    await until(none_there, 30, "the Job is gone")


async def test_a_service_that_is_killed_or_replaced_finds_its_job_again(
    running: Service, git_server: GitServer
) -> None:
    repository, name = fresh(git_server)
    step = f"echo {uuid.uuid4()} && for i in $(seq 1 40); do echo line-$i-; sleep 1; done"
    repository.commit({"Dockerfile": f"FROM {cluster_builds.os_image()}\nRUN {step}\n"})
    before = await jobs_made()
    link = f"gh/{name}/HEAD"
    visits = [await running.stream(link).read(until_text="line-4-")]
    for attempt, number in ((2, signal.SIGKILL), (3, signal.SIGTERM)):
        await running.stop(number)
        assert len(await jobs_there()) == 1
        await running.start()
        text = f"attempt {attempt}" if attempt == 2 else "is ready, after"
        visits.append(await running.stream(link, last_event_id=visits[-1].ids[-1]).read(until_text=text))
    assert await jobs_made() == before + 1
    everything = "".join(visit.text for visit in visits)
    assert "building again, attempt 3" in everything
    assert [everything.count(f"\nline-{number}-\n") for number in range(1, 41)] == [1] * 40
