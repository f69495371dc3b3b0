"""One Git server and one data directory for all; the service on it is started, killed and started again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.git_server import GitServer, serve_git
from tests.support.service import Service, environment, serving


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def git_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GitServer]:
    async with serve_git(tmp_path_factory.mktemp("git")) as server:
        yield server


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bindery") / "data"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared(git_server: GitServer, data_dir: Path) -> AsyncIterator[Service]:
    service = Service(data_dir, environment(git_server, BINDERY_PROVIDERS__RESOLUTION_TTL_SECONDS="0"))
    yield service
    await service.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def service(shared: Service) -> Service:
    """The service, running; a test may kill it, the next one starts it again."""
    if shared.process is None or shared.process.returncode is not None:
        await shared.start()
    return shared


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def public(git_server: GitServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    """A service that other sites' pages may use."""
    folder = tmp_path_factory.mktemp("public") / "data"
    settings = {
        "BINDERY_CORS_ALLOW_ORIGIN": "*",
        "BINDERY_FRAME_ANCESTORS": '["http://127.0.0.1:*"]',
        "BINDERY_ALLOW_BUILD_ONLY": "true",
    }
    async with serving(folder, git_server, **settings) as service:
        yield service
