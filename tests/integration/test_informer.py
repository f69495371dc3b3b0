"""An informer in front of an API that forgets, breaks off and says nonsense."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from bindery.cluster import Cluster
from bindery.informer import Informer
from bindery.settings import KubernetesSettings
from tests.support.wait import until

GONE = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}


def thing(name: str, version: int = 1) -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": str(version)}}


class ForgetsAndBreaksOff:
    """Has the lists and the watches that the test names, one after the other; further watches stay open."""

    def __init__(self, lists: list[list[str]], watches: list[list[tuple[str, dict[str, Any]]]]) -> None:
        self.lists = lists
        self.watches = watches
        self.listed = 0
        self.watched: list[str] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            if request.query["limit"] == "1":
                return web.json_response({"metadata": {"resourceVersion": "1"}, "items": []})
            names = self.lists[min(self.listed, len(self.lists) - 1)]
            self.listed += 1
            body = {"metadata": {"resourceVersion": str(10 * self.listed)}, "items": [thing(name) for name in names]}
            return web.json_response(body)
        self.watched.append(request.query["resourceVersion"])
        response = web.StreamResponse()
        await response.prepare(request)
        number = len(self.watched) - 1
        for kind, item in self.watches[number] if number < len(self.watches) else ():
            await response.write(json.dumps({"type": kind, "object": item}).encode() + b"\n")
        if number >= len(self.watches):
            await asyncio.Event().wait()
        return response


#: Serves an API; gives the settings with which it is found.
Serve = Callable[[ForgetsAndBreaksOff], Awaitable[KubernetesSettings]]


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    runners = []

    async def begin(api: ForgetsAndBreaksOff) -> KubernetesSettings:
        application = web.Application()
        application.router.add_get("/{path:.*}", api.answer)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        config = {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{runner.addresses[0][1]}"}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
        }
        (tmp_path / "config").write_text(json.dumps(config))
        return KubernetesSettings(kubeconfig=tmp_path / "config")

    yield begin
    for runner in runners:
        await runner.cleanup()


async def test_a_place_that_is_forgotten_is_listed_anew_and_what_is_gone_goes(serve: Serve) -> None:
    api = ForgetsAndBreaksOff([["a", "b"], ["b", "c"]], [[("ADDED", thing("d", 11)), ("ERROR", GONE)], []])
    async with (
        Cluster(await serve(api)) as cluster,
        Informer(cluster, "configmaps", {}, lambda item: item["metadata"]["name"]) as informer,
    ):
        await until(lambda: sorted(informer.known) == ["b", "c"], what="the second list is known")
        await until(lambda: api.watched[:2] == ["10", "20"], what="the watch goes on after it")


async def test_a_watch_that_breaks_off_goes_on_where_it_was(serve: Serve) -> None:
    watches = [
        [("ADDED", thing("b", 11)), ("BOOKMARK", thing("", 15))],
        [("DELETED", thing("a", 16)), ("MODIFIED", thing("b", 17))],
    ]
    api = ForgetsAndBreaksOff([["a"]], watches)
    async with (
        Cluster(await serve(api)) as cluster,
        Informer(cluster, "configmaps", {}, lambda item: item["metadata"]["resourceVersion"]) as informer,
    ):
        await until(lambda: dict(informer.known) == {"b": "17"}, what="what happened is known")
        await until(lambda: api.watched[:3] == ["10", "15", "17"], what="the watch goes on where it was")
        assert informer.fresh
    assert api.listed == 1


async def test_nonsense_ends_in_a_new_list(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bindery.informer.WAIT_SECONDS", (0.01, 0.02))
    api = ForgetsAndBreaksOff([["a"], ["b"]], [[("ADDED", {"metadata": {}})], []])
    async with (
        Cluster(await serve(api)) as cluster,
        Informer(cluster, "configmaps", {}, lambda item: item["metadata"]["name"]) as informer,
    ):
        await until(lambda: list(informer.known) == ["b"], what="the second list is known")


async def test_what_was_just_made_is_known_ahead_of_the_watch_and_waited_for(serve: Serve) -> None:
    api = ForgetsAndBreaksOff([["a"]], [[]])
    async with (
        Cluster(await serve(api)) as cluster,
        Informer(cluster, "configmaps", {}, lambda item: item["metadata"]["name"]) as informer,
    ):
        informer.note(thing("new"))
        assert sorted(informer.known) == ["a", "new"]
        assert await informer.until("new", lambda found: found == "new", 1)
        assert not await informer.until("new", lambda found: found is None, 0.01)
