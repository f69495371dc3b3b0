"""Spawners of containers in the engine of the tests."""

from __future__ import annotations

from bindery.settings import DockerSettings, SessionSettings
from launcher.spawners.docker import DockerSpawner
from tests.support.docker import engine

#: The network of the tests' sessions.
NETWORK = "bindery-test0"


def docker_spawner(
    limits: SessionSettings, *, instance: str, allow_origin: str = "", **docker: object
) -> DockerSpawner:
    """A spawner, not open yet; `docker` are settings of the section of that name."""
    settings = DockerSettings.model_validate({"host": engine().host, "network": NETWORK, **docker})
    return DockerSpawner(settings, limits, instance=instance, allow_origin=allow_origin)
