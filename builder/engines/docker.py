"""The docker engine: environments and images built by a Docker Engine."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Self

from bindery.docker_api import DockerApi
from bindery.settings import Settings
from builder.engines import docker_export
from builder.engines.base import BuildJob, Running
from builder.engines.docker_cli import Docker, find_docker
from builder.engines.docker_export import Exported
from builder.engines.docker_images import draft_name, drafts
from builder.engines.layered.engine import LayeredEngine
from builder.engines.layered.runtime import Runtimes, find_runtimes
from builder.engines.leftovers import builds_with_leftovers, remove_leftovers
from builder.engines.narration import Say

_CACHES_LENGTH = 12


class DockerEngine(LayeredEngine):
    """The `EnvironmentBuilder` of the docker engine; `open` makes one."""

    def __init__(self, settings: Settings, docker: Docker, runtimes: Runtimes) -> None:
        super().__init__(settings, docker, runtimes)
        self.docker = docker

    @classmethod
    async def open(cls, settings: Settings, environ: Mapping[str, str] = os.environ) -> Self:
        """Find the Docker Engine and what it has. Raises `ToolMissing`, which says what is wrong."""
        host = {"DOCKER_HOST": settings.docker.host} if settings.docker.host else {}
        docker = await find_docker({**environ, **host})
        await asyncio.to_thread(settings.data_dir.mkdir, parents=True, exist_ok=True)
        return cls(settings, docker, await find_runtimes(docker, settings.build))

    def asking(self, api: DockerApi) -> Self:
        """The same engine, asked through its API while that is open."""
        return type(self)(self._settings, replace(self.docker, api=api), self.runtimes)

    async def reap(self, running: Running) -> None:
        """Remove what builds other than those `running` left behind: clients, folders, drafts of images."""
        seen, names = await asyncio.to_thread(builds_with_leftovers, self._root), await drafts(self.docker, self._root)
        alive = {*await running(), *self._active}
        await asyncio.to_thread(remove_leftovers, self._root, seen - alive)
        await self.docker.untag(*names - {draft_name(self._root, build_id) for build_id in alive})

    async def export(self, job: BuildJob, folder: Path, say: Say) -> Exported:
        """Make a new folder in which `docker build` makes the job's image without us.

        Where the environment is there already, the same versions are asked for.
        """
        found = await self.find(job.plan.environment_key)
        caches = hashlib.sha256(f"{job.commit} {job.plan.environment_key}".encode()).hexdigest()[:_CACHES_LENGTH]
        shop = replace(self._workshop(job, folder, say), caches=caches)
        return await docker_export.export(job, shop, self.runtimes, "" if found is None else found.lock)

    def _draft(self, job: BuildJob) -> str:
        return draft_name(self._root, job.build_id)
