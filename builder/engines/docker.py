"""The docker engine: environments and images built by a Docker Engine, one stage on the other."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Self

from bindery.settings import Settings
from builder.engines import docker_export
from builder.engines.base import BuildJob, EnvironmentInfo
from builder.engines.docker_cli import Docker, find_docker
from builder.engines.docker_export import Exported
from builder.engines.installer import disk_errors
from builder.engines.layered import content, environment, library
from builder.engines.layered.context import Site
from builder.engines.layered.images import ENVIRONMENTS, drafts, environment_info, environment_name
from builder.engines.layered.runtime import BUILDER_VERSION, Runtimes, find_runtimes
from builder.engines.layered.workshop import Locks, Workshop
from builder.engines.leftovers import end_others, remove_scratch
from builder.engines.narration import Say, ago, narrate
from builder.plan import Kind, Plan, PlanContext
from db.events import Event
from registry.directory import remove_tree

_PYTHON = frozenset({Kind.PYTHON, Kind.PIPFILE})
_SHORT_KEY = 12


class DockerEngine:
    """The `EnvironmentBuilder` of the docker engine; `open` makes one.

    - Everything of a repository that executes does so in the engine's build, as user 1000.
    - An image and an environment get their name when they are complete, in one step.
    """

    def __init__(self, settings: Settings, docker: Docker, runtimes: Runtimes) -> None:
        self._settings = settings
        self._root = settings.data_dir.absolute()
        self._site = Site(settings.build)
        self._locks = Locks()
        self._active: set[str] = set()
        self.docker = docker
        self.runtimes = runtimes

    @classmethod
    async def open(cls, settings: Settings, environ: Mapping[str, str] = os.environ) -> Self:
        """Find the Docker Engine and what it has. Raises `ToolMissing`, which says what is wrong."""
        host = {"DOCKER_HOST": settings.docker.host} if settings.docker.host else {}
        docker = await find_docker({**environ, **host})
        await asyncio.to_thread(settings.data_dir.mkdir, parents=True, exist_ok=True)
        return cls(settings, docker, await find_runtimes(docker, settings.build))

    @property
    def context(self) -> PlanContext:
        """What plans for this engine depend on."""
        return PlanContext(
            builder_version=BUILDER_VERSION,
            runtime=self.runtimes.key,
            default_python=self.runtimes.default_python,
            available_pythons=self.runtimes.available,
        )

    async def wider_context(self) -> PlanContext:
        """The same: what can be had is known."""
        return self.context

    def check(self, plan: Plan) -> tuple[str, ...]:
        """Refuse what cannot be built here: a Python that is not to be had."""
        if plan.kind in _PYTHON and plan.python not in self.runtimes.available:
            raise self.runtimes.unavailable(plan.python)
        return ()

    async def find(self, key: str) -> EnvironmentInfo | None:
        """The finished environment of this key, if there is one."""
        image = await self.docker.image(environment_name(key))
        return None if image is None else await environment_info(self.docker, key, image)

    async def has_image(self, reference: str) -> bool:
        """Whether a finished image is in the engine's store."""
        return await self.docker.image(reference) is not None

    def environment(self, job: BuildJob) -> AsyncGenerator[Event, None]:
        """Make sure that the environment of the job's plan is there."""
        return narrate(partial(self._at_work, job, self._environment))

    def image(self, job: BuildJob) -> AsyncGenerator[Event, None]:
        """Add content and post-build steps; the image is there when the generator ends."""
        return narrate(partial(self._at_work, job, self._image))

    async def reap(self, running: Collection[str]) -> None:
        """Remove what builds other than `running` left behind: clients, folders, drafts of images."""
        alive = {*running, *self._active}
        await asyncio.to_thread(end_others, self._root, alive)
        await asyncio.to_thread(remove_scratch, self._root / "builds", alive)
        await self.docker.untag(*await drafts(self.docker, self._root, alive))

    async def export(self, job: BuildJob, folder: Path, say: Say) -> Exported:
        """Make a new folder in which `docker build` makes the job's image without us.

        Where the environment is there already, the same versions are asked for.
        """
        found = await self.find(job.plan.environment_key)
        caches = hashlib.sha256(f"{job.commit} {job.plan.environment_key}".encode()).hexdigest()[:_SHORT_KEY]
        shop = replace(self._workshop(job, folder, say), caches=caches)
        return await docker_export.export(job, shop, self.runtimes, "" if found is None else found.lock)

    def _workshop(self, job: BuildJob, folder: Path, say: Say) -> Workshop:
        return Workshop(
            build_id=job.build_id,
            docker=self.docker,
            site=self._site,
            root=self._root,
            folder=folder,
            cache=self._root / "cache",
            say=say,
            settings=self._settings,
            locks=self._locks,
        )

    async def _at_work(self, job: BuildJob, work: Callable[[BuildJob, Workshop], Awaitable[None]], say: Say) -> None:
        """Do a build's work in a place of its own, and leave nothing of that."""
        folder = self._root / "builds" / job.build_id / "engine"
        shop = self._workshop(job, folder, say)
        self._active.add(job.build_id)
        try:
            with disk_errors():
                await asyncio.to_thread(remove_tree, folder)
                await asyncio.to_thread(folder.mkdir, parents=True)
                await work(job, shop)
        finally:
            self._active.discard(job.build_id)
            await asyncio.shield(asyncio.to_thread(remove_tree, folder))
            with suppress(OSError):
                folder.parent.rmdir()

    async def _environment(self, job: BuildJob, shop: Workshop) -> None:
        key = job.plan.environment_key
        short = key[:_SHORT_KEY]
        if found := await self.docker.image(environment_name(key)):
            await shop.say(f"Environment {short} is known, built {ago(found.created_at)}: reused\n")
            return
        async with shop.alone(f"{ENVIRONMENTS}:{key}"):
            if await self.docker.image(environment_name(key)):
                await shop.say(f"Environment {short} was built meanwhile: reused\n")
                return
            begun = time.monotonic()
            if job.plan.kind is Kind.DOCKERFILE:
                await environment.build_dockerfile(job, shop)
            elif job.plan.kind in library.KINDS:
                await library.build_environment(job, shop, self.runtimes)
            else:
                await environment.build_python(job, shop, self.runtimes)
            await shop.say(f"Environment {short} is ready, after {time.monotonic() - begun:.1f} s\n")

    async def _image(self, job: BuildJob, shop: Workshop) -> None:
        async with shop.alone(job.image):
            if await self.has_image(job.image):
                await shop.say(f"Image {job.image} is there: reused\n")
                return
            # The environment's own step has told of one that is known.
            if await self.docker.image(environment_name(job.plan.environment_key)) is None:
                await self._environment(job, shop)
            if job.plan.kind in library.KINDS:
                await library.build_image(job, shop)
            else:
                await content.build(job, shop, self.runtimes)
