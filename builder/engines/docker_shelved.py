"""The docker engine with a registry behind it: any machine with the same registry goes on where this one ends."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from builder.engines.base import BuildJob, EnvironmentInfo, Running
from builder.engines.docker import DockerEngine
from builder.engines.docker_images import environment_name
from builder.engines.docker_registry import PUSH_SECONDS, Shelf
from builder.engines.narration import Say, narrate
from builder.engines.shelved_content import Composer, is_composed
from builder.plan import Plan, PlanContext
from db.events import Event
from registry.names import Reference


@dataclass(frozen=True)
class ShelvedDockerEngine:
    """An `EnvironmentBuilder`: `engine` builds, `shelf` keeps.

    - An environment that another machine has built is pulled, not built.
    - Where nothing of the repository has to run, its files are composed onto the environment in the registry: nothing
      is pulled, and the engine has nothing to do.
    """

    engine: DockerEngine
    shelf: Shelf
    composer: Composer

    @property
    def context(self) -> PlanContext:
        """See `EnvironmentBuilder`."""
        return self.engine.context

    async def wider_context(self) -> PlanContext:
        return self.context

    def check(self, plan: Plan) -> tuple[str, ...]:
        """See `EnvironmentBuilder`."""
        return self.engine.check(plan)

    async def find(self, key: str) -> EnvironmentInfo | None:
        """See `EnvironmentBuilder`. The lock of one that only the registry has is known once it is pulled."""
        if found := await self.engine.find(key):
            return found
        if await self.shelf.has(self.shelf.environment(key)):
            return EnvironmentInfo(key, created_at=0.0, lock="", joined=True)
        return None

    async def environment(self, job: BuildJob) -> AsyncGenerator[Event, None]:
        """See `EnvironmentBuilder`."""
        key = job.plan.environment_key
        target = self.shelf.environment(key)
        if await self.shelf.has(target):
            yield Event("building", f"Environment {key[:12]} is in the registry: reused\n")
            work = [] if is_composed(job.plan) else [narrate(partial(self._pull, key))]
        else:
            work = [self.engine.environment(job), self._push(environment_name(key), target)]
        async for event in _each(work):
            yield event

    async def image(self, job: BuildJob) -> AsyncGenerator[Event, None]:
        """See `EnvironmentBuilder`."""
        target = Reference.parse(job.image)
        if await self.shelf.has(target):
            yield Event("building", f"Image {job.image} is in the registry: reused\n")
            return
        if is_composed(job.plan):
            work = [narrate(partial(self.composer.compose, job, target))]
        else:
            work = [self.engine.image(job), self._push(job.image, target)]
        async for event in _each(work):
            yield event

    async def reap(self, running: Running) -> None:
        """See `EnvironmentBuilder`."""
        await self.engine.reap(running)

    async def _pull(self, key: str, say: Say) -> None:
        if await self.engine.docker.image(environment_name(key)) is not None:
            return
        name = str(self.shelf.environment(key))
        await say(f"Pulling {name}\n")
        await self.engine.docker.run("pull", "--quiet", name, timeout_seconds=PUSH_SECONDS)
        await self.engine.docker.run("tag", name, environment_name(key))

    async def _push(self, local: str, target: Reference) -> AsyncGenerator[Event, None]:
        async with aclosing(narrate(partial(self.shelf.push, self.engine.docker, local, target))) as events:
            async for event in events:
                yield Event("pushing", event.message)


async def _each(works: Sequence[AsyncGenerator[Event, None]]) -> AsyncGenerator[Event, None]:
    """What one does after the other."""
    for work in works:
        async with aclosing(work) as events:
            async for event in events:
                yield event
