"""The engine that the settings name, put together: who builds, who has the images, who runs sessions."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import structlog

from bindery.errors import InvalidImageReference, ToolMissing
from bindery.settings import EngineName, Settings
from builder.engines.base import EnvironmentBuilder
from builder.engines.process import ProcessEngine
from launcher.spawners.base import Spawner
from launcher.spawners.process import ProcessSpawner
from registry.directory import DirectoryStore
from registry.reference import ImageNames, binderhub_prefix
from registry.stock import DirectoryStock, Stock

if TYPE_CHECKING:
    from builder.engines.docker_registry import Shelf
    from registry.client import ClientSettings
    from registry.names import Location

log = structlog.get_logger(__name__)

NO_ISOLATION = "This service runs notebooks as processes of this machine: only launch repositories that you trust."


@dataclass(frozen=True)
class Workbench:
    """Where environments are built, and the images that come of it."""

    builder: EnvironmentBuilder
    stock: Stock
    names: ImageNames
    #: What builds, for the operator.
    description: str = ""
    #: Whether what builds goes on when the service stops.
    lasting: bool = False


@dataclass(frozen=True)
class Engine:
    """A workbench, and where its images run. `notice` is for visitors.

    Sessions that are not `lasting` cannot outlive the service.
    """

    workbench: Workbench
    spawner: Spawner
    lasting: bool
    notice: str = ""


async def chosen(settings: Settings) -> Settings:
    """The settings with an engine's name in place of `auto`: Docker where it answers, else processes."""
    if settings.engine is not EngineName.AUTO:
        return settings
    from builder.engines.docker_cli import find_docker

    try:
        await find_docker(reaching(settings))
    except ToolMissing:
        return settings.model_copy(update={"engine": EngineName.PROCESS})
    return settings.model_copy(update={"engine": EngineName.DOCKER})


@contextlib.asynccontextmanager
async def workbench(settings: Settings) -> AsyncIterator[Workbench]:
    """The engine's building side, without anything running. Raises `ToolMissing` when the engine is not there."""
    if settings.engine is EngineName.KUBERNETES:
        async with _cluster_workbench(settings) as bench:
            yield bench
        return
    if settings.engine is not EngineName.DOCKER:
        process = await ProcessEngine.open(settings)
        yield Workbench(process, DirectoryStock(DirectoryStore(settings.data_dir)), _names(process))
        return
    # Imported where it is used, here and below: a laptop's service need not hold it in memory.
    from bindery.docker_api import DockerApi
    from builder.engines.docker import DockerEngine
    from builder.engines.docker_shelved import ShelvedDockerEngine
    from builder.engines.docker_stock import DockerStock
    from builder.engines.shelved_content import Composer

    found = await DockerEngine.open(settings)
    async with _shelf(settings) as shelf, DockerApi(settings.docker.host) as api:
        docker = found.asking(api)
        builder: EnvironmentBuilder = docker
        if shelf is not None:
            composer = Composer(shelf, settings.data_dir, settings.build.content_folder, settings.fetch)
            builder = ShelvedDockerEngine(docker, shelf, composer)
        names = _names(builder, shelf, settings)
        yield Workbench(builder, DockerStock(api, shelf, docker.runtimes.key), names, docker.docker.description)


@contextlib.asynccontextmanager
async def _cluster_workbench(settings: Settings) -> AsyncIterator[Workbench]:
    if find_spec("kubernetes") is None:
        raise ToolMissing("The client of clusters is not installed.", hint="Run: pip install 'bindery[kubernetes]'")
    from bindery.cluster import Cluster
    from builder.engines.kubernetes import KubernetesEngine
    from builder.engines.registry_stock import RegistryStock

    async with Cluster(settings.kubernetes) as cluster, _shelf(settings) as found:
        shelf = _needed(found)
        builder = await KubernetesEngine.open(settings, cluster, shelf)
        description = f"Jobs in namespace {cluster.namespace}, by {settings.kubernetes.build.back_end}"
        yield Workbench(builder, RegistryStock(shelf), _names(builder, shelf, settings), description, lasting=True)


@contextlib.asynccontextmanager
async def stock(settings: Settings) -> AsyncIterator[Stock]:
    """The engine's images alone, for looking at them from outside of the service."""
    if settings.engine in (EngineName.PROCESS, EngineName.AUTO):
        yield DirectoryStock(DirectoryStore(settings.data_dir))
        return
    from bindery.docker_api import DockerApi
    from builder.engines.docker_stock import DockerStock
    from builder.engines.registry_stock import RegistryStock

    async with _shelf(settings) as shelf:
        if settings.engine is EngineName.KUBERNETES:
            yield RegistryStock(_needed(shelf))
            return
        async with DockerApi(settings.docker.host) as api:
            yield DockerStock(api, shelf)


def _names(builder: EnvironmentBuilder, shelf: Shelf | None = None, settings: Settings | None = None) -> ImageNames:
    """How images are called; raises `InvalidImageReference` when BinderHub's are in another registry than ours."""
    prefix = "" if shelf is None else shelf.prefix
    binderhub = "" if settings is None else settings.registry.binderhub_prefix
    if binderhub and shelf is not None:
        binderhub = binderhub_prefix(binderhub)
        if not binderhub.startswith(f"{shelf.location.host}/"):
            raise InvalidImageReference(
                f"The images called {binderhub}... are in another registry than {shelf.location.host}.",
                hint="BINDERY_REGISTRY__BINDERHUB_PREFIX has to begin with the host of BINDERY_REGISTRY__URL.",
            )
    return ImageNames(prefix, builder.context.identity, binderhub)


def _needed(shelf: Shelf | None) -> Shelf:
    if shelf is None:
        hint = "Name one that builds and nodes reach: BINDERY_REGISTRY__URL."
        raise ToolMissing("The kubernetes engine keeps its images in a registry, and there is none.", hint=hint)
    return shelf


@contextlib.asynccontextmanager
async def _shelf(settings: Settings) -> AsyncIterator[Shelf | None]:
    if not settings.registry.url:
        yield None
        return
    from builder.engines.docker_registry import Shelf
    from registry.client import open_client
    from registry.compression import Compression, packer

    location, asked = registry_at(settings)
    # Whoever lacks the compressor hears of it at the start.
    packer(Compression(settings.registry.compression))
    async with open_client(asked) as client:
        yield Shelf(client, location, Compression(settings.registry.compression))


def registry_at(settings: Settings) -> tuple[Location, ClientSettings]:
    """Where the registry of the settings is, and how to speak to it."""
    from registry.client import ClientSettings
    from registry.names import Location

    location = Location.parse(settings.registry.url)
    plain, bundle = settings.registry.plain_http_hosts, settings.build.ca_bundle
    return location, ClientSettings.of(location, plain_http=plain, ca_bundle=bundle)


@contextlib.asynccontextmanager
async def engine(settings: Settings) -> AsyncIterator[Engine]:
    """The engine, ready for use; leaving the block ends the sessions that cannot outlive the service."""
    run = {EngineName.DOCKER: _docker, EngineName.KUBERNETES: _kubernetes}.get(settings.engine, _process)
    async with run(settings) as found:
        yield found


@contextlib.asynccontextmanager
async def _process(settings: Settings) -> AsyncIterator[Engine]:
    builder = await ProcessEngine.open(settings)
    store = DirectoryStore(settings.data_dir)
    async with ProcessSpawner(
        store,
        server=builder.server_environment,
        sandbox=builder.sandbox,
        allow_origins=settings.cors_allow_origin,
    ) as spawner:
        yield Engine(
            Workbench(builder, DirectoryStock(store), _names(builder)), spawner, lasting=False, notice=NO_ISOLATION
        )


@contextlib.asynccontextmanager
async def _docker(settings: Settings) -> AsyncIterator[Engine]:
    from launcher.spawners.docker import DockerSpawner

    async with (
        workbench(settings) as bench,
        DockerSpawner(
            settings.docker,
            settings.session,
            instance=_instance(settings),
            allow_origins=settings.cors_allow_origin,
        ) as spawner,
    ):
        log.info("docker.found", found=bench.description)
        yield Engine(bench, spawner, lasting=True)


@contextlib.asynccontextmanager
async def _kubernetes(settings: Settings) -> AsyncIterator[Engine]:
    async with workbench(settings) as bench, _relay(settings):
        from launcher.spawners.kubernetes import KubernetesSpawner

        allowed = settings.cors_allow_origin
        async with KubernetesSpawner(settings.kubernetes, settings.session, allow_origins=allowed) as spawner:
            log.info("kubernetes.found", found=bench.description)
            yield Engine(bench, spawner, lasting=True)


@contextlib.asynccontextmanager
async def _relay(settings: Settings) -> AsyncIterator[None]:
    """What stands between builds and the registry, where the operator wants that."""
    chosen = settings.kubernetes.build
    if not chosen.relay_address:
        yield
        return
    from registry.client import open_transport
    from registry.permits import Permits
    from registry.relay import Relay

    location, asked = registry_at(settings)
    permits = Permits(settings.build_token.secret.get_secret_value())
    async with (
        open_transport(asked) as transport,
        Relay(transport, location.host, permits).listening(chosen.relay_host, chosen.relay_port),
    ):
        yield


def reaching(settings: Settings) -> dict[str, str]:
    """The environment in which a Docker client finds the engine of the settings."""
    host = {"DOCKER_HOST": settings.docker.host} if settings.docker.host else {}
    return {**os.environ, **host}


def _instance(settings: Settings) -> str:
    """Tells the containers of this service from those of others on the same engine, by what all its processes share."""
    database = urlsplit(settings.database.url.get_secret_value())
    # Not by the login, which may change.
    shared = f"{database.netloc.rpartition('@')[2]}{database.path}"
    return hashlib.sha256((shared or str(settings.data_dir)).encode()).hexdigest()[:12]
