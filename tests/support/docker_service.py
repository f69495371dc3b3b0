"""The real service on a real Docker Engine, and the containers of its sessions."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from tests.support import docker
from tests.support.docker import Engine
from tests.support.git_server import GitServer
from tests.support.service import Service, environment
from tests.support.wait import until


def containers(engine: Engine, owner: str) -> list[str]:
    """Names of the containers of sessions whose repositories belong to `owner`."""
    found = engine.run("ps", "--all", "--format", "{{.Names}}", "--filter", "label=io.bindery.session")
    return [name for name in found.split() if name.startswith(f"bindery-{owner}-")]


@contextlib.asynccontextmanager
async def docker_serving(
    engine: Engine, git_server: GitServer, data_dir: Path, owner: str, **more: str
) -> AsyncIterator[Service]:
    """A service while the block runs; afterwards the sessions of `owner`'s repositories are ended.

    Containers outlive a service: they are ended by one that allows them no time.
    """
    settings = {
        "BINDERY_ENGINE": "docker",
        "BINDERY_BUILD__OS_IMAGE": docker.os_image(),
        "BINDERY_PROVIDERS__RESOLUTION_TTL_SECONDS": "0",
        "BINDERY_SESSION__UNOPENED_SECONDS": "600",
        "DOCKER_HOST": engine.host,
        "PATH": f"{engine.client.parent}:{environment()['PATH']}",
    }
    service = Service(data_dir, environment(git_server, **settings, **more))
    await service.start()
    try:
        yield service
    finally:
        await service.stop()
        last = {"BINDERY_SESSION__MAX_AGE_SECONDS": "0.01", "BINDERY_SESSION__CHECK_SECONDS": "0.2"}
        service.environment = {**service.environment, **last}
        await service.start()
        try:
            await until(lambda: not containers(engine, owner), 60, "all containers are gone")
        finally:
            await service.stop()
