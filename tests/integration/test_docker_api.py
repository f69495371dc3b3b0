"""An engine that goes away while it is asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web

from bindery.docker_api import DockerApi
from bindery.errors import EngineUnavailable, ToolMissing
from builder.engines.docker_cli import Docker
from tests.support.registry import served


def engine(hangs_up: Callable[[], bool]) -> web.Application:
    """An engine that hangs up instead of saying what it knows of an image, as often as `hangs_up` says."""

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/version":
            return web.json_response({"ApiVersion": "1.41"})
        if hangs_up():
            assert request.transport is not None
            request.transport.abort()
        return web.json_response({"Id": "sha256:1"})

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    return application


async def test_one_that_always_hangs_up_is_away() -> None:
    async with served(engine(lambda: True)) as url, DockerApi(url.replace("http:", "tcp:")) as api:
        with pytest.raises(EngineUnavailable):
            await api.ask("GET", "/images/x/json")
        with pytest.raises(ToolMissing, match="does not answer"):
            await Docker(Path("docker"), "", "", False, {}, api).image("x")


async def test_one_that_hangs_up_once_is_asked_again() -> None:
    times = iter([True, False])
    async with served(engine(lambda: next(times))) as url, DockerApi(url.replace("http:", "tcp:")) as api:
        found = await Docker(Path("docker"), "", "", False, {}, api).image("x")
    assert found is not None
    assert found.id == "sha256:1"
