"""The kubernetes engine: environments and images built in Jobs of a cluster, kept in a registry."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Collection
from dataclasses import replace
from pathlib import Path
from typing import Self

from bindery.cluster import Cluster
from bindery.errors import ToolMissing
from bindery.settings import Settings
from builder.engines.base import BuildJob, Running
from builder.engines.docker_registry import Shelf
from builder.engines.job_context import remove_contexts
from builder.engines.kubernetes_jobs import Jobs
from builder.engines.kubernetes_maker import CONTEXTS, KubernetesMaker
from builder.engines.layered.engine import LayeredEngine
from builder.engines.layered.images import ENVIRONMENTS
from builder.engines.layered.making import ImageMaker
from builder.engines.layered.runtime import find_runtimes
from builder.engines.layered.workshop import Workshop
from builder.engines.leftovers import builds_with_leftovers, remove_leftovers
from builder.engines.narration import Line, Say, narrate
from builder.engines.registry_images import RegistryImages
from builder.engines.shelved_content import Composer, is_composed
from db.events import Event
from registry.credentials import CredentialSource, DockerConfig
from registry.names import Reference
from registry.permits import Permits


class KubernetesEngine(LayeredEngine):
    """The `EnvironmentBuilder` of the kubernetes engine; `open` makes one.

    - Runtimes, environments and post-build steps are made in Jobs, each of which pushes its image; a worker that is
      killed leaves them running, and the next one follows them on from the line where the build's log ends.
    - A commit's files alone are composed onto its environment in the registry: that needs no Job.
    """

    shelf: Shelf
    jobs: Jobs
    credentials: CredentialSource

    @classmethod
    async def open(
        cls, settings: Settings, cluster: Cluster, shelf: Shelf, credentials: CredentialSource | None = None
    ) -> Self:
        """Find out what there is to build on. Raises `ToolMissing`, which says what is wrong."""
        if not settings.kubernetes.build.image:
            raise ToolMissing(
                "There is no image for the Jobs of builds.",
                hint="Build helm/images/builder, push it, and name it in BINDERY_KUBERNETES__BUILD__IMAGE.",
            )
        await asyncio.to_thread(settings.data_dir.mkdir, parents=True, exist_ok=True)
        logins = credentials or DockerConfig()
        jobs = Jobs(cluster, settings.kubernetes)
        images = RegistryImages(shelf.client, shelf.location, settings.data_dir / "cache")
        permits = Permits(settings.build_token.secret.get_secret_value())
        maker = KubernetesMaker(jobs, images, settings, logins, permits)
        engine = cls(settings, maker, await find_runtimes(maker, settings.build))
        engine.shelf, engine.jobs, engine.credentials = shelf, jobs, logins
        return engine

    def image(self, job: BuildJob) -> AsyncGenerator[Event, None]:
        """See `EnvironmentBuilder`."""
        return narrate(lambda say: self._compose(job, say)) if is_composed(job.plan) else super().image(job)

    async def reap(self, running: Running) -> None:
        """Remove what builds not `running` left behind: Jobs, Secrets, contexts, and files of this machine."""

        async def alive() -> Collection[str]:
            return {*await running(), *self._active}

        seen = await asyncio.to_thread(builds_with_leftovers, self._root)
        await asyncio.to_thread(remove_leftovers, self._root, seen - set(await alive()))
        await self.jobs.reap(alive)
        kept = [f"{self.jobs.contexts}{name}" for name in await self.jobs.names()]
        repository = Reference.parse(self._maker.name(CONTEXTS, "any")).repository
        await remove_contexts(self.shelf.client, repository, self.jobs.contexts, kept)

    def _draft(self, job: BuildJob) -> str:
        # The same for all builds of an environment, so that they share its Job.
        return self._maker.name(ENVIRONMENTS, f"draft-{job.plan.environment_key}")

    def _maker_of(self, job: BuildJob) -> ImageMaker:
        assert isinstance(self._maker, KubernetesMaker)
        return replace(self._maker, build_id=job.build_id, told=job.told, handover=job.handover)

    def _workshop(self, job: BuildJob, folder: Path, say: Say) -> Workshop:
        # Caches last as long as their Job, so their names are no secrets; all workers have to give them the same ones.
        caches = hashlib.sha256(self._settings.kubernetes.instance.encode()).hexdigest()[:12]
        return replace(super()._workshop(job, folder, say), caches=caches)

    async def _compose(self, job: BuildJob, say: Say) -> None:
        target = Reference.parse(job.image)
        if await self.shelf.has(target):
            await say(f"Image {job.image} is in the registry: reused\n")
            return
        if not await self.shelf.has(self.shelf.environment(job.plan.environment_key)):
            async for event in self.environment(job):
                await say(Line(event.message, **event.fields))
        settings = self._settings
        await Composer(self.shelf, self._root, settings.build.content_folder, settings.fetch).compose(job, target, say)
