"""The engine of layers: environments and images that are built one stage on the other, wherever that happens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from bindery.settings import Settings
from builder.engines.base import BuildJob, EnvironmentInfo
from builder.engines.installer import disk_errors
from builder.engines.layered import content, environment, library
from builder.engines.layered.context import Site
from builder.engines.layered.images import ENVIRONMENTS, environment_info
from builder.engines.layered.making import ImageMaker
from builder.engines.layered.runtime import BUILDER_VERSION, Runtimes
from builder.engines.layered.workshop import Locks, Workshop
from builder.engines.narration import Say, ago, narrate
from builder.plan import Kind, Plan, PlanContext
from db.events import Event
from registry.directory import remove_tree

_PYTHON = frozenset({Kind.PYTHON, Kind.PIPFILE})
_SHORT_KEY = 12


class LayeredEngine:
    """What `EnvironmentBuilder`s have in common whose images a `maker` makes.

    - Everything of a repository that executes does so in the maker's build, as user 1000.
    - An image and an environment get their name when they are complete, in one step.
    """

    def __init__(self, settings: Settings, maker: ImageMaker, runtimes: Runtimes) -> None:
        self._settings = settings
        self._root = settings.data_dir.absolute()
        self._site = Site(settings.build)
        self._locks = Locks()
        self._active: set[str] = set()
        self._maker = maker
        self.runtimes = runtimes

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
        return await environment_info(self._maker, key)

    async def has_image(self, reference: str) -> bool:
        """Whether a finished image is there."""
        return await self._maker.image(reference) is not None

    def environment(self, job: BuildJob) -> AsyncGenerator[Event, None]:
        """Make sure that the environment of the job's plan is there."""
        return narrate(partial(self._at_work, job, self._environment))

    def image(self, job: BuildJob) -> AsyncGenerator[Event, None]:
        """Add content and post-build steps; the image is there when the generator ends."""
        return narrate(partial(self._at_work, job, self._image))

    def _draft(self, job: BuildJob) -> str:
        """The name of what the job's build has not finished."""
        raise NotImplementedError

    def _maker_of(self, job: BuildJob) -> ImageMaker:
        """Who makes the images of this job."""
        return self._maker

    def _workshop(self, job: BuildJob, folder: Path, say: Say) -> Workshop:
        return Workshop(
            build_id=job.build_id,
            maker=self._maker_of(job),
            draft=self._draft(job),
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
        name = shop.maker.name(ENVIRONMENTS, key)
        if found := await shop.maker.image(name):
            await shop.say(f"Environment {short} is known, built {ago(found.created_at)}: reused\n")
            return
        async with shop.alone(f"{ENVIRONMENTS}:{key}"):
            if await shop.maker.image(name):
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
            if await shop.maker.image(shop.maker.name(ENVIRONMENTS, job.plan.environment_key)) is None:
                await self._environment(job, shop)
            if job.plan.kind in library.KINDS:
                await library.build_image(job, shop)
            else:
                await content.build(job, shop, self.runtimes)
