"""The client of a cluster's API, against a real one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from bindery.cluster import Cluster
from bindery.errors import ClusterRefused, EngineUnavailable
from bindery.settings import KubernetesSettings
from tests.support.cluster import cluster, cluster_registry


@pytest.fixture
async def api() -> AsyncIterator[Cluster]:
    async with Cluster(cluster().settings()) as found:
        yield found


def config_map(name: str) -> dict[str, object]:
    return {"metadata": {"name": name}, "data": {"answer": "42"}}


async def test_things_are_made_found_and_removed(api: Cluster) -> None:
    await api.ask("POST", api.path("configmaps"), body=config_map("found"))
    found = await api.ask("GET", api.path("configmaps", "found"))
    assert found["data"] == {"answer": "42"}
    await api.ask("DELETE", api.path("configmaps", "found"))
    with pytest.raises(ClusterRefused) as refused:
        await api.ask("GET", api.path("configmaps", "found"))
    assert (refused.value.answer, refused.value.reason) == (404, "NotFound")


async def test_a_name_that_is_taken_is_told_apart(api: Cluster) -> None:
    await api.ask("POST", api.path("configmaps"), body=config_map("taken"))
    with pytest.raises(ClusterRefused) as refused:
        await api.ask("POST", api.path("configmaps"), body=config_map("taken"))
    assert (refused.value.answer, refused.value.reason) == (409, "AlreadyExists")


async def test_a_watch_tells_what_happens(api: Cluster) -> None:
    listed = await api.ask("GET", api.path("configmaps"))
    query = {"watch": "true", "resourceVersion": listed["metadata"]["resourceVersion"]}
    await api.ask("POST", api.path("configmaps"), body=config_map("watched"))
    async with aclosing(api.lines(api.path("configmaps"), query=query, silent_seconds=10)) as lines:
        event = json.loads(await anext(lines))
    assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "watched")


async def test_a_silent_stream_ends_with_an_error(api: Cluster) -> None:
    query = {"watch": "true", "labelSelector": "none=such"}
    with pytest.raises(EngineUnavailable, match="too long"):
        await anext(api.lines(api.path("configmaps"), query=query, silent_seconds=0.2))


async def test_an_error_ends_a_stream_too(api: Cluster) -> None:
    with pytest.raises(ClusterRefused) as refused:
        await anext(api.lines(api.path("pods", "nobody", "log"), query={}, silent_seconds=10))
    assert refused.value.answer == 404


async def test_a_cluster_that_does_not_answer_is_unavailable(tmp_path: Path) -> None:
    broken = cluster().kubeconfig.read_text().replace("6443", "1")
    (tmp_path / "config").write_text(broken)
    settings = KubernetesSettings(kubeconfig=tmp_path / "config", request_timeout_seconds=5)
    async with Cluster(settings) as api:
        assert api.namespace == "default"
        with pytest.raises(EngineUnavailable):
            await api.ask("GET", api.path("pods"))


@pytest.mark.parametrize("content", ["", "nothing", "clusters: 1", "{"])
async def test_a_broken_login_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "config").write_text(content)
    with pytest.raises(EngineUnavailable, match="no way to a cluster") as error:
        await Cluster(KubernetesSettings(kubeconfig=tmp_path / "config")).__aenter__()
    assert "KUBECONFIG" in error.value.hint


async def test_a_missing_login_is_told(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="no way to a cluster"):
        await Cluster(KubernetesSettings(kubeconfig=tmp_path / "none")).__aenter__()


def test_the_registry_answers() -> None:
    assert ":" in cluster_registry()
