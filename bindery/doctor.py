"""`bindery doctor`: what this machine can do, and how to mend what is missing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import socket
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec

from rich.console import Console
from sqlalchemy import text

from bindery.data_dir import announced
from bindery.engines import reaching, registry_at
from bindery.errors import BinderyError, ToolMissing
from bindery.process import ProcessTimeout, run
from bindery.sandbox import find_sandbox
from bindery.settings import MIB, EngineName, Settings
from bindery.terminal import marked
from bindery.wiring import LEAST_FREE, make_database, rows
from builder.engines.docker_cli import find_docker
from builder.engines.uv import find_uv
from db.migrate import require
from registry.client import open_client
from registry.manifests import digest_of
from registry.transport import RetryPolicy

#: The oldest Git that can be held to a checked address (http.curloptResolve).
LEAST_GIT = (2, 37)
_SECONDS = 10.0


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. What is not `needed` may be missing."""

    name: str
    good: bool
    found: str
    cure: str = ""
    needed: bool = True

    @property
    def mark(self) -> str:
        """How it begins its line."""
        if self.good:
            return "[green]ok     [/green]"
        return "[red]missing[/red]" if self.needed else "[yellow]no     [/yellow]"


async def examine(settings: Settings, output: Console) -> bool:
    """Look at everything and print it; whether all that is needed is there."""
    looks: list[Callable[[Settings], Awaitable[Finding | None]]] = [
        *(_python, _git, _uv, _sandbox, _docker, _cluster, _registry, _postgresql, _data, _port)
    ]
    findings = [found for look in looks if (found := await look(settings)) is not None]
    for finding in findings:
        output.print(f"{finding.mark} [bold]{finding.name}[/bold]: {marked(finding.found)}", soft_wrap=True)
        if not finding.good and finding.cure:
            output.print(f"        {marked(finding.cure)}", soft_wrap=True)
    return all(finding.good or not finding.needed for finding in findings)


async def _said(*argv: str) -> str | None:
    try:
        ended = await run(argv, env=dict(os.environ), timeout_seconds=_SECONDS)
    except (OSError, ProcessTimeout):
        return None
    return ended.stdout.decode(errors="replace").strip() if ended.returncode == 0 else None


async def _python(_: Settings) -> Finding:
    version = sys.version.split()[0]
    return Finding("Python", sys.version_info >= (3, 11), version, "Install Python 3.11 or newer.")


async def _git(_: Settings) -> Finding:
    said = await _said("git", "--version")
    found = re.search(r"(\d+)\.(\d+)", said or "")
    if found is None:
        return Finding("Git", False, "not found", "Install git with the system's package manager.")
    new_enough = (int(found[1]), int(found[2])) >= LEAST_GIT
    return Finding(
        "Git", new_enough, said or "", "Install git 2.37 or newer: older ones cannot be held to a checked address."
    )


async def _uv(_: Settings) -> Finding:
    program = find_uv()
    said = await _said(str(program), "--version") if program else None
    return Finding("uv", said is not None, said or "not found", "Install it beside Bindery: pip install uv")


async def _sandbox(settings: Settings) -> Finding:
    sandbox = await find_sandbox(enabled=settings.build.sandbox)
    cure = "Install bubblewrap to keep builds and sessions away from this machine's files (Linux only)."
    return Finding(
        "Sandbox", sandbox.active, "bubblewrap works" if sandbox.active else sandbox.reason, cure, needed=False
    )


async def _docker(settings: Settings) -> Finding:
    needed = settings.engine is EngineName.DOCKER
    try:
        docker = await find_docker(reaching(settings))
    except ToolMissing as error:
        cure = error.hint if needed else f"The process engine does not need it. {error.hint}"
        return Finding("Docker", False, error.message, cure, needed)
    return Finding("Docker", True, docker.description)


async def _cluster(settings: Settings) -> Finding | None:
    """Whether the cluster answers, and lets us do what builds and sessions need."""
    if settings.engine is not EngineName.KUBERNETES:
        return None
    if find_spec("kubernetes") is None:
        return Finding("Cluster", False, "its client is not installed", "Run: pip install 'bindery[kubernetes]'")
    from bindery.cluster import Cluster
    from bindery.rights import BUILDS, SESSIONS, missing

    try:
        async with Cluster(settings.kubernetes) as cluster:
            version = (await cluster.ask("GET", "/version"))["gitVersion"]
            lacking = await missing(cluster, (*BUILDS, *SESSIONS))
    except BinderyError as error:
        return Finding("Cluster", False, error.message, error.hint)
    where = f"Kubernetes {version}, namespace {cluster.namespace}"
    if lacking:
        cure = f"Allow its account in that namespace: {', '.join(map(str, lacking))}."
        return Finding("Cluster", False, f"{where}, but rights are missing there", cure)
    if not settings.kubernetes.build.image:
        cure = "Build helm/images/builder, push it, and name it in BINDERY_KUBERNETES__BUILD__IMAGE."
        return Finding("Cluster", False, f"{where}, but there is no image for the Jobs of builds", cure)
    return Finding("Cluster", True, f"{where}, all rights")


async def _registry(settings: Settings) -> Finding | None:
    """Whether the registry of the settings answers, and lets us write: an upload is begun and given up."""
    if not settings.registry.url:
        return None
    try:
        location, asked = registry_at(settings)
        async with open_client(replace(asked, retry=RetryPolicy(attempts=2))) as client:
            repository = location.reference("bindery-environment:none").repository
            await client.mount(repository, digest_of(b"bindery doctor"), repository)
    except BinderyError as error:
        return Finding("Registry", False, f"{settings.registry.url}: {error.message}", error.hint)
    return Finding("Registry", True, f"{location.host} answers and takes images")


async def _postgresql(settings: Settings) -> Finding | None:
    """Whether the shared database answers and has the tables of this version; nothing in it is changed."""
    if not settings.database.url.get_secret_value():
        return None
    database = make_database(settings)
    try:
        async with database.read() as connection:
            version = await connection.scalar(text("SHOW server_version"))
        await asyncio.to_thread(require, database.url)
    except BinderyError as error:
        cause = str(error.__cause__ or "").strip().partition("\n")[0]
        return Finding("PostgreSQL", False, f"{error.message} {cause}".strip(), error.hint)
    finally:
        await database.close()
    return Finding("PostgreSQL", True, f"{version}, its tables are up to date")


async def _data(settings: Settings) -> Finding:
    folder = settings.data_dir.absolute()
    own = settings.model_copy(update={"data_dir": folder})
    shared = bool(settings.database.url.get_secret_value())
    try:
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
        # Looking must not migrate what others use.
        async with contextlib.nullcontext() if shared else rows(own):
            free = (await asyncio.to_thread(shutil.disk_usage, folder)).free
    except Exception as error:
        said = error.message if isinstance(error, BinderyError) else str(error).splitlines()[0]
        return Finding("Database", False, f"{folder}: {said}", "Give a folder that you may write to with --data-dir.")
    found = f"{folder}, {free // MIB} MiB free"
    return Finding("Data" if shared else "Database", free > LEAST_FREE, found, "Free some space on that disk.")


async def _port(settings: Settings) -> Finding:
    where = f"{settings.host}:{settings.port}"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            running = announced(settings.data_dir)
            who = f"Bindery itself may run there: {running.url}" if running else "Give another one with --port."
            return Finding("Port", False, f"{where}: {error.strerror}", who, needed=False)
    return Finding("Port", True, f"{where} is free")
