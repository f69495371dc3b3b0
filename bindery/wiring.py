"""The one place where the parts are put together."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import signal
import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterator
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from typing import Any

import structlog
from sqlalchemy import text
from starlette.types import ASGIApp

from bindery import __version__, roles
from bindery.engines import Engine, Workbench, engine, workbench
from bindery.errors import DatabaseUnavailable
from bindery.housekeeping import Housekeeping, RecordKeeping
from bindery.leadership import Leadership
from bindery.record_pages import RecordPages
from bindery.settings import MIB, Role, Settings
from builder.documents.desk import Desk
from builder.engines.base import EnvironmentBuilder
from builder.guard import Guard, GuardedClient
from builder.previewing import PlanningDesk, Previewer
from builder.providers import providers
from builder.providers.git import GitProvider
from builder.resolver import Resolver
from builder.worker import Worker, Workshop
from db.builds import BuildStore
from db.documents import DocumentStore
from db.durations import DurationStore
from db.engine import Database
from db.environments import EnvironmentStore
from db.images import ImageStore
from db.launches import LaunchStore
from db.leases import LeaseStore
from db.line import Room
from db.notifications import Notifications
from db.previews import PreviewStore
from db.rates import RateStore
from db.resolutions import ResolutionStore
from db.sessions import Session, SessionStore
from db.states import SessionState
from db.wakeups import Wakeups
from launcher.activity import Activity
from launcher.controller import Controller, Launchpad
from launcher.rules import Rules
from launcher.spawners.base import Spawner
from web import embedding, pages
from web.api import Api
from web.app import Site, create_app
from web.build_token import BuildTokens
from web.cross_origin import CrossOrigin
from web.diagnoses import Diagnoses
from web.doorkeeper import Doorkeeper, banned_networks
from web.estimates import Estimates
from web.feed import Feeds
from web.health import Health, Usage
from web.intake import Intake
from web.introductions import Introductions
from web.launch_events import LaunchLog
from web.launches import Launches
from web.line import Line
from web.metrics import Metrics
from web.pages import Pages
from web.presentation import presentation
from web.session_answers import SessionAnswers
from web.session_routes import SessionRoutes
from web.showcase import Showcase
from web.tending import tending_app
from web.traffic import Limits, Traffic

log = structlog.get_logger(__name__)

Observe = Callable[[Session, SessionState, float], None]
Work = Callable[[], Coroutine[Any, Any, None]]

#: The file of the data directory's own database.
DATABASE = "bindery.db"
#: How often, in seconds, activity and waiting visitors are written to the rows.
WRITE_SECONDS = 10.0
#: Seconds that requests to sessions get to end when the service stops; less than the server as a whole has.
TRAFFIC_SHUTDOWN_SECONDS = 1.0
#: Below so many free bytes the service calls itself unhealthy.
LEAST_FREE = 256 * MIB


@dataclass(frozen=True)
class Service:
    """A service whose background work runs."""

    app: ASGIApp
    #: None where nobody is carried to sessions.
    traffic: Traffic | None
    health: Health


@dataclass(frozen=True)
class Rows:
    """The stores over one database."""

    database: Database
    wakeups: Wakeups
    builds: BuildStore
    sessions: SessionStore
    images: ImageStore
    documents: DocumentStore


def base_url(settings: Settings) -> str:
    """The path prefix, with a slash at both ends."""
    inner = settings.base_url.strip("/")
    return f"/{inner}/" if inner else "/"


def guard(settings: Settings) -> Guard:
    """Which hosts this service may contact for its visitors."""
    return Guard(settings.allow_private_repository_hosts, settings.providers.resolve_timeout_seconds)


def database_url(settings: Settings) -> str:
    """The database of the settings, else the one in the data directory."""
    return settings.database.url.get_secret_value() or f"sqlite+aiosqlite:///{settings.data_dir}/{DATABASE}"


def make_database(settings: Settings) -> Database:
    """The database, not opened yet."""
    return Database(database_url(settings), settings.database)


@contextlib.asynccontextmanager
async def rows(settings: Settings) -> AsyncIterator[Rows]:
    """The database, its schema up to date."""
    database = make_database(settings)
    wakeups = Wakeups()
    await database.open()
    try:
        yield Rows(
            database,
            wakeups,
            BuildStore(database, wakeups),
            SessionStore(database, wakeups),
            ImageStore(database),
            DocumentStore(database, wakeups),
        )
    finally:
        await database.close()


def make_resolver(settings: Settings, client: GuardedClient, database: Database) -> Resolver:
    """The resolver over all providers."""
    known = providers(settings.providers, client)
    protocols = (*settings.providers.git.allowed_protocols, "file")
    local = GitProvider(client, protocols, settings.providers.resolve_timeout_seconds)
    return Resolver(known, local, ResolutionStore(database), settings.providers.resolution_ttl_seconds)


@dataclass(frozen=True)
class Parts:
    """What processes of every role have."""

    settings: Settings
    stored: Rows
    client: GuardedClient
    resolver: Resolver
    feeds: Feeds
    metrics: Metrics
    health: Health
    activity: Activity


@contextlib.asynccontextmanager
async def service(settings: Settings, token: str) -> AsyncIterator[Service]:
    """Everything but the listening socket. Leaving the block ends builds, and sessions that cannot last."""
    async with contextlib.AsyncExitStack() as stack:
        stored = await stack.enter_async_context(rows(settings))
        client = await stack.enter_async_context(GuardedClient(guard(settings)))
        parts = _parts(settings, stored, client)
        works = [*_everywhere(parts)]
        if roles.works(settings.role):
            running = await stack.enter_async_context(engine(settings))
            bench, notice = running.workbench, running.notice
            works += await _labour(parts, running, stack)
        elif roles.shows(settings.role):
            bench, notice = await stack.enter_async_context(workbench(settings)), ""
        app: ASGIApp = tending_app(base_url(settings), parts.health, parts.metrics)
        traffic: Traffic | None = None
        watching: Collection[str] = ()
        door = _doorkeeper(settings, stored.database)
        if roles.shows(settings.role):
            launches = _launches(parts, bench)
            site = _site(parts, launches, door, notice, token)
            app, watching = create_app(site), launches.watching
            traffic = _traffic(settings, stored.sessions, parts.activity, site.pages)
        elif roles.carries(settings.role):
            traffic = _traffic(settings, stored.sessions, parts.activity, _pages(parts, door, ""))
        if traffic is not None:
            stack.push_async_callback(traffic.aclose)
            works.append(_writing(watching, parts.activity, stored))
        await stack.enter_async_context(parts.health.watched())
        await stack.enter_async_context(_running(*works))
        yield Service(app, traffic, parts.health)


def _parts(settings: Settings, stored: Rows, client: GuardedClient) -> Parts:
    feeds = Feeds(stored.wakeups)
    resolver = make_resolver(settings, client, stored.database)
    names = {name: str(provider.display["displayName"]) for name, provider in resolver.providers.items()}
    metrics = Metrics(lambda: feeds.viewers, names)
    return Parts(settings, stored, client, resolver, feeds, metrics, _health(settings, stored), Activity())


def _everywhere(parts: Parts) -> Iterator[Work]:
    """The work of processes of every role."""
    yield parts.metrics.watch_loop
    database = parts.stored.database
    if database.shared:
        yield Notifications(database, parts.settings.database, parts.stored.wakeups).run


async def _labour(parts: Parts, running: Engine, stack: contextlib.AsyncExitStack) -> list[Work]:
    """Builds, for as many processes as there are, and what one of them does for all."""
    settings, stored, bench = parts.settings, parts.stored, running.workbench
    launch_log = LaunchLog(settings.launch_log)
    stack.callback(launch_log.close)

    def observe(session: Session, state: SessionState, seconds: float) -> None:
        parts.metrics.launch(session, state, seconds)
        launch_log.observe(session, state)

    controller = _controller(parts, running.spawner, observe)
    keeper = Housekeeping(bench.stock, stored.images, stored.sessions, stored.builds, settings.retention)
    records = RecordKeeping(stored.database, settings.retention)
    own = [_worker(parts, bench.builder).run, _previewer(parts, bench.builder).run]
    chores: list[Work] = [controller.run, keeper.run, records.run]

    async def lead() -> None:
        await bench.builder.reap(partial(_unfinished, stored.builds))
        await controller.adopt()
        async with asyncio.TaskGroup() as group:
            for chore in chores:
                group.create_task(chore())

    if not running.lasting:
        stack.push_async_callback(controller.stop_all, "The service was stopped.")
    if stored.database.shared:
        return [*own, Leadership(LeaseStore(stored.database, stored.wakeups), stored.wakeups, lead).run]
    # The data directory is ours alone: whatever was begun in it was begun by a service that is no more.
    await stored.builds.release()
    await PreviewStore(stored.database, stored.wakeups).release()
    await _reap(bench, stored.builds)
    await controller.adopt()
    return [*own, *chores]


async def _reap(bench: Workbench, builds: BuildStore) -> None:
    """Remove what earlier services left of builds, but for what goes on without them and is still wanted."""
    await bench.builder.reap(partial(_unfinished, builds) if bench.lasting else _none)


async def _unfinished(builds: BuildStore) -> list[str]:
    return [build.id for build in await builds.unfinished()]


async def _none() -> list[str]:
    return []


def _controller(parts: Parts, spawner: Spawner, observe: Observe) -> Controller:
    settings, stored = parts.settings, parts.stored
    return Controller(
        Launchpad(
            sessions=stored.sessions,
            builds=stored.builds,
            images=stored.images,
            spawner=spawner,
            wakeups=stored.wakeups,
            activity=parts.activity,
            settings=settings.session,
            base_url=base_url(settings),
            room=room(settings),
            observe=observe,
        )
    )


def _worker(parts: Parts, builder: EnvironmentBuilder) -> Worker:
    settings, stored = parts.settings, parts.stored
    return Worker(
        Workshop(
            builds=stored.builds,
            images=stored.images,
            environments=EnvironmentStore(stored.database),
            engine=builder,
            client=parts.client,
            wakeups=stored.wakeups,
            scratch=settings.data_dir / "fetched",
            build=settings.build,
            fetch=settings.fetch,
            desk=_desk(settings, stored),
            providers=parts.resolver.providers,
            observe=parts.metrics.build,
        )
    )


def _desk(settings: Settings, stored: Rows) -> Desk:
    secret = frozenset({"gist"}) if settings.providers.gist.allow_secret else frozenset[str]()
    return Desk(stored.documents, stored.wakeups, secret)


def _previewer(parts: Parts, builder: EnvironmentBuilder) -> Previewer:
    settings, stored = parts.settings, parts.stored
    return Previewer(
        PlanningDesk(
            previews=PreviewStore(stored.database, stored.wakeups),
            engine=builder,
            client=parts.client,
            wakeups=stored.wakeups,
            scratch=settings.data_dir / "previewed",
            settings=settings.preview,
            fetch=settings.fetch,
            providers=parts.resolver.providers,
        )
    )


def _launches(parts: Parts, bench: Workbench) -> Launches:
    settings, stored = parts.settings, parts.stored
    available = room(settings)
    intake = Intake(
        resolver=parts.resolver,
        builds=stored.builds,
        sessions=stored.sessions,
        images=stored.images,
        rules=Rules(settings.limits),
        room=available,
        image_exists=bench.stock.has,
        names=bench.names,
        session_host=settings.session.host,
        allow_build_only=settings.allow_build_only,
        refused=parts.metrics.refused,
        logs_launches=bool(settings.launch_log),
    )
    line = Line(lambda: stored.sessions.line(available, time.time()), stored.wakeups)
    introductions = Introductions(
        stored.documents, Estimates(DurationStore(stored.database)), _desk(settings, stored).readable
    )
    return Launches(intake, stored.builds, stored.sessions, parts.feeds, line, introductions)


def room(settings: Settings) -> Room:
    """How many sessions there may be, and how many visitors may wait for one."""
    return Room(settings.session.max_total, settings.limits.most_waiting)


def _doorkeeper(settings: Settings, database: Database) -> Doorkeeper:
    configured = settings.build_token
    secret = configured.secret.get_secret_value() or secrets.token_hex(32)
    tokens = BuildTokens(secret, configured.expires_seconds, configured.check_origin)
    banned = banned_networks(settings.limits.banned_networks)
    return Doorkeeper(tokens, RateStore(database), settings.rate_limit, banned)


def _pages(parts: Parts, door: Doorkeeper, notice: str) -> Pages:
    settings = parts.settings
    displays = [provider.display for provider in parts.resolver.providers.values()]
    return Pages(
        providers=displays,
        base_url=base_url(settings),
        version=__version__,
        notice=notice,
        maintenance=settings.limits.maintenance,
        presentation=presentation(settings.site),
        engine=settings.engine.value,
        limits=settings.session,
        homes={"gh": settings.providers.gh.url},
        build_token=door.tokens.make,
        refusal=Rules(settings.limits).refusal,
        showcase=Showcase(LaunchStore(parts.stored.database), settings.status, displays).lists,
    )


def _site(parts: Parts, launches: Launches, door: Doorkeeper, notice: str, token: str) -> Site:
    settings, stored, health = parts.settings, parts.stored, parts.health
    over_rows = RecordPages(settings, stored.database, stored.wakeups, launches, health, door, token)
    reporter = over_rows.reporter()
    known = _pages(parts, door, notice)
    plans = over_rows.preview(known)
    known = replace(known, preview=plans.show)
    return Site(
        base_url=base_url(settings),
        launches=launches,
        health=health,
        metrics=parts.metrics,
        versions={
            "builder_info": {"engine": settings.engine.value, "repo2docker-version": version("jupyter-repo2docker")},
            "binderhub": __version__,
        },
        pages=known,
        documents=stored.documents,
        api=Api(
            base_url=base_url(settings),
            launches=launches,
            health=health,
            version=__version__,
            operator_token=token,
            doorkeeper=door,
            diagnoses=Diagnoses(stored.builds),
            reporter=reporter,
            understood=plans.understood,
        ),
        doorkeeper=door,
        operator_token=token,
        cross_origin=CrossOrigin(settings.cors_allow_origin),
        routers=(
            *over_rows.routers(known, reporter),
            embedding.router(embedding.Embedding(known, settings.frame_ancestors)),
        ),
    )


def _health(settings: Settings, stored: Rows) -> Health:
    async def answers() -> None:
        async with stored.database.read() as connection:
            await connection.execute(text("SELECT 1"))

    async def has_space() -> None:
        usage = await asyncio.to_thread(shutil.disk_usage, settings.data_dir)
        if usage.free < LEAST_FREE:
            raise OSError("the disk is almost full")

    async def count() -> Usage:
        builds, sessions = await stored.builds.unfinished(), await stored.sessions.count()
        return Usage(len(builds), sessions, settings.session.max_total)

    if settings.role is Role.PROXY:
        # Notebooks go on while the database is away, by routes that are known.
        return Health({"Disk space": has_space})
    return Health({"Database": answers, "Disk space": has_space}, count)


def _traffic(settings: Settings, sessions: SessionStore, activity: Activity, known: Pages) -> Traffic:
    routes = SessionRoutes(sessions, activity)
    answers = SessionAnswers(known, routes)

    return Traffic(
        routes=routes,
        ledger=routes,
        base_url=base_url(settings),
        gone_page=answers.gone,
        unknown_page=answers.unknown,
        unavailable_page=answers.unavailable,
        page_headers=dict(pages.ELSEWHERE if settings.session.host else pages.SCRIPTLESS),
        trusted_proxies=settings.trusted_proxies,
        session_host=settings.session.host,
        frame_ancestors=" ".join(["'self'", *settings.frame_ancestors]).encode() if settings.frame_ancestors else b"",
        varies_by_origin=len(settings.cors_allow_origin) > 1,
        limits=Limits(shutdown_seconds=TRAFFIC_SHUTDOWN_SECONDS, drain_seconds=settings.shutdown.drain_seconds),
    )


def _writing(watching: Collection[str], activity: Activity, stored: Rows) -> Work:
    async def write_once() -> None:
        try:
            await activity.write(stored.sessions)
            await stored.sessions.watched(list(watching), time.time())
        except DatabaseUnavailable as error:
            log.warning("activity.write_failed", message=error.message)
        except Exception:
            log.exception("activity.write_failed")

    async def write() -> None:
        try:
            while True:
                await asyncio.sleep(WRITE_SECONDS)
                await write_once()
        finally:
            # Whoever decides on idle sessions after us must know what we saw.
            await asyncio.shield(write_once())

    return write


@contextlib.asynccontextmanager
async def _running(*works: Work) -> AsyncIterator[None]:
    """Run background work while the block runs; one that fails is logged and ends the service."""
    tasks = [asyncio.create_task(work()) for work in works]
    for task in tasks:
        task.add_done_callback(_report)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("service.work_failed", exc_info=task.exception())
        signal.raise_signal(signal.SIGTERM)
