"""What whoever watches a process sees while it is being replaced."""

from __future__ import annotations

import signal
from pathlib import Path

import aiohttp
import pytest

from tests.support.git_server import GitServer
from tests.support.service import Service, serving
from tests.support.wait import until

DELAY = {"BINDERY_SHUTDOWN__DELAY_SECONDS": "2", "BINDERY_SHUTDOWN__DRAIN_SECONDS": "30"}

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def status(service: Service, path: str) -> int:
    """An answer's status over a connection of its own; 0 where none is taken any more."""
    try:
        async with aiohttp.ClientSession() as client, client.get(f"{service.url}{path}") as answer:
            return answer.status
    except aiohttp.ClientConnectorError:
        return 0


async def test_a_process_that_stops_says_so_before_it_takes_nobody_any_more(
    git_server: GitServer, tmp_path: Path
) -> None:
    async with serving(tmp_path / "data", git_server, **DELAY) as service:
        assert service.process is not None
        assert [await status(service, f"health/{kind}") for kind in ("live", "ready")] == [200, 200]
        service.process.send_signal(signal.SIGTERM)

        async def is_not_ready() -> bool:
            return await status(service, "health/ready") == 503

        await until(is_not_ready, 5, "it says that it is not ready")
        assert await status(service, "health/live") == 200
        assert await status(service, "health") == 200

        async def takes_nobody() -> bool:
            return await status(service, "health/live") == 0

        await until(takes_nobody, 10, "it takes no new connections")
        assert await service.stop(signal.SIGTERM) == 0
