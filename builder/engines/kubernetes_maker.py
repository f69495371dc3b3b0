"""Images made by Jobs of a cluster and kept in a registry."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from pydantic import SecretStr

from bindery.errors import (
    BinderyError,
    BuildInterrupted,
    BuildTimedOut,
    DiskFull,
    InternalError,
    RegistryRefused,
    ToolMissing,
)
from bindery.settings import BuildBackEnd, Settings
from builder.engines import kubernetes_status as status
from builder.engines.base import Handover
from builder.engines.job_context import upload_context
from builder.engines.kubernetes_follow import Follower, Limits
from builder.engines.kubernetes_job import NET_SECONDS, Parcel, job_name
from builder.engines.kubernetes_jobs import Jobs
from builder.engines.layered.making import Image, Recipe, StepFailed
from builder.engines.registry_images import RegistryImages
from builder.job.order import Order
from builder.job.records import Reason, Verdict
from registry.credentials import Credential, CredentialSource
from registry.names import Reference
from registry.permits import Permit, Permits

CONTEXTS = "bindery/context"
CACHES = "bindery-cache"
#: How often a Job is made anew whose pod was lost.
ATTEMPTS = 3


@dataclass(frozen=True)
class KubernetesMaker:
    """The `ImageMaker` of one build on a cluster."""

    jobs: Jobs
    images: RegistryImages
    settings: Settings
    credentials: CredentialSource
    permits: Permits
    build_id: str = ""
    told: Mapping[str, int] = field(default_factory=dict)
    handover: Handover = field(default_factory=Handover)

    def name(self, repository: str, tag: str) -> str:
        """See `ImageMaker`."""
        return self.images.name(repository, tag)

    async def image(self, name: str) -> Image | None:
        """See `ImageMaker`."""
        return await self.images.image(name)

    async def bring(self, name: str) -> Image:
        """See `ImageMaker`."""
        return await self.images.bring(name)

    async def read_file(self, name: str, path: str) -> bytes | None:
        """See `ImageMaker`."""
        return await self.images.read_file(name, path)

    async def label(self, image: str, name: str, labels: Mapping[str, str]) -> None:
        """See `ImageMaker`."""
        await self.images.label(image, name, labels)

    async def untag(self, *names: str) -> None:
        """See `ImageMaker`."""
        await self.images.untag(*names)

    async def build(
        self,
        recipe: Recipe,
        on_line: Callable[[str], Awaitable[None]],
        *,
        timeout_seconds: float,
        marks: Mapping[str, str] | None = None,
    ) -> Mapping[str, bytes]:
        """See `ImageMaker`. A Job of the same image that runs already is followed; one whose pod was lost is made anew.

        Where the build is handed over to another worker, its Job is left alone.
        """
        text = await asyncio.to_thread(recipe.dockerfile.read_text, encoding="utf-8")
        name = job_name(self.settings.kubernetes.instance, recipe.tag, text)
        told = self.told.get(name, 0)
        for _ in range(ATTEMPTS):
            async with self._holding(name):
                if not await self.jobs.adopt(name, self.build_id):
                    if (files := await self._made_already(recipe)) is not None:
                        return files
                    await self._make(name, recipe, text, timeout_seconds)
                    told = 0
                verdict = await self._follower(name, on_line, told).follow()
            if verdict is not None:
                return _files(verdict)
            told = 0
            await on_line("The cluster has lost the build's pod: building again\n")
        raise BuildInterrupted(f"The cluster lost the build's pod {ATTEMPTS} times.")

    @contextlib.asynccontextmanager
    async def _holding(self, name: str) -> AsyncIterator[None]:
        """Leave a Job and its context when the block ends, however it does: unless the build is handed over."""
        leave = True
        try:
            yield
        except asyncio.CancelledError:
            leave = not self.handover.wanted
            raise
        finally:
            if leave:
                await asyncio.shield(self._leave(name))

    def _follower(self, name: str, say: Callable[[str], Awaitable[None]], told: int) -> Follower:
        chosen = self.settings.kubernetes
        limits = Limits(
            chosen.schedule_timeout_seconds,
            chosen.pull_timeout_seconds,
            chosen.build.memory_bytes,
            chosen.build.image,
        )
        return Follower(self.jobs.cluster, name, limits, say, told)

    async def _made_already(self, recipe: Recipe) -> Mapping[str, bytes] | None:
        """What another build that shared the Job, or a worker that is no more, has made of it."""
        if await self.image(recipe.tag) is None:
            return None
        found = {path: await self.read_file(recipe.tag, path) for path in recipe.reads}
        return {path: data for path, data in found.items() if data is not None}

    async def _make(self, name: str, recipe: Recipe, text: str, timeout_seconds: float) -> None:
        context = Reference.parse(self._context(name))
        await upload_context(self.images.client, context, recipe.dockerfile, recipe.context)
        chosen = self.settings.kubernetes.build
        order = Order(
            context=str(context),
            target=recipe.tag,
            back_end=chosen.back_end,
            address=chosen.address,
            reads=recipe.reads,
            build_args=recipe.build_args,
            labels=recipe.labels,
            plain_http=self._plain_http(),
            headings=recipe.headings,
            cache=self._cache(recipe.cache),
            timeout_seconds=timeout_seconds,
            relay=self._relay,
            location=self.images.location.root,
        )
        secrets = {key: await asyncio.to_thread(path.read_bytes) for key, path in recipe.secrets.items()}
        bundle = self.settings.build.ca_bundle
        authorities = None if bundle is None else await asyncio.to_thread(bundle.read_bytes)
        parcel = Parcel(order, await self._logins(order, _bases(recipe, text)), secrets, authorities)
        await self.jobs.make(name, self.build_id, parcel)

    async def _logins(self, order: Order, bases: Collection[str]) -> bytes | None:
        """A Docker config.json with the build's permit for the relay, or else the login for its images' registry."""
        if order.relay:
            token = self.permits.issue(_permit(order, bases), order.timeout_seconds + NET_SECONDS)
            return _config(order.relay, Credential("build", SecretStr(token)))
        repository = Reference.parse(order.target).repository
        found = await self.credentials.find(repository)
        return None if found is None else _config(repository.host, found)

    @property
    def _relay(self) -> str:
        """Where builds reach the relay, if they use it: BuildKit and Docker reach registries from elsewhere."""
        chosen = self.settings.kubernetes.build
        return chosen.relay_address if chosen.back_end is BuildBackEnd.BUILDAH else ""

    def _context(self, job: str) -> str:
        return self.name(CONTEXTS, f"{self.jobs.contexts}{job}")

    def _cache(self, key: str) -> str:
        """The repository for layers of builds with a key: strangers never share one."""
        digest = hashlib.sha256(key.encode()).hexdigest()[:32]
        return str(self.images.location.repository(f"{CACHES}/{digest}")) if key else ""

    def _plain_http(self) -> tuple[str, ...]:
        hosts = list(self.settings.registry.plain_http_hosts)
        if self.settings.registry.url.startswith("http://"):
            hosts.append(urlsplit(self.settings.registry.url).netloc)
        if self._relay:
            hosts.append(self._relay)
        return tuple(dict.fromkeys(hosts))

    async def _leave(self, name: str) -> None:
        """Hold the Job no more, and let its context go."""
        await self.jobs.release(name, self.build_id)
        with contextlib.suppress(BinderyError):
            await self.images.untag(self._context(name))


def _bases(recipe: Recipe, dockerfile: str) -> list[str]:
    """The images that a Dockerfile of ours begins with; what a repository's own names is not for us to permit."""
    words = (line.split() for line in dockerfile.splitlines())
    return [] if recipe.cache else [line[1] for line in words if len(line) > 1 and line[0] == "FROM"]


def _permit(order: Order, bases: Collection[str]) -> Permit:
    """What a build needs: to write its image and its cache, to read its context and what it is built on."""
    read = [name for name in (order.context, *bases) if name.startswith(f"{order.location}/")]
    own = [order.target, order.cache] if order.cache else [order.target]
    return Permit(frozenset(map(_within, own)), frozenset(map(_within, read)))


def _within(name: str) -> str:
    """A name as the registry itself has it, with its tag if it has one."""
    return str(Reference.parse(name)).partition("/")[2].partition("@")[0]


def _config(host: str, login: Credential) -> bytes:
    """A Docker config.json with nothing but this login."""
    if login.identity_token is not None:
        entry = {"identitytoken": login.identity_token.get_secret_value(), "username": login.username}
    else:
        entry = {"auth": login.basic().partition(" ")[2]}
    return json.dumps({"auths": {host: entry}}).encode()


def _files(verdict: Verdict) -> Mapping[str, bytes]:
    """The files of a build that is done; raises what its failure means."""
    reason, words = verdict.reason, verdict.words
    if reason is None:
        return verdict.files
    if reason is Reason.STEP:
        raise StepFailed(verdict.output, words)
    raise _problem(reason, words)


def _problem(reason: Reason, words: str) -> BinderyError:
    if reason is Reason.MEMORY:
        return status.out_of_memory(words)
    if reason is Reason.DISK:
        return DiskFull(words, hint="The operator can give builds more disk: BINDERY_KUBERNETES__BUILD__STORAGE_BYTES.")
    if reason is Reason.TIME:
        return BuildTimedOut(words)
    if reason is Reason.REGISTRY:
        return RegistryRefused(f"The build cannot use its registry: {words.splitlines()[-1][:300] if words else ''}")
    if reason is Reason.TOOL:
        return ToolMissing(words, hint="The operator has to look at BINDERY_KUBERNETES__BUILD__IMAGE.")
    return InternalError(f"The build's program failed: {words[:300]}")
