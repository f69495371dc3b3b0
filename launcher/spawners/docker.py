"""Sessions as containers of a Docker Engine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import weakref
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Any, Self

from bindery.docker_api import DockerApi, EngineRefused
from bindery.errors import SessionFailed
from bindery.settings import DockerSettings, SessionSettings
from launcher.serving import PORT
from launcher.spawners import docker_log
from launcher.spawners.base import Address, Running, SessionRequest, Status
from launcher.spawners.docker_container import (
    DATA_LABEL,
    SESSION_LABEL,
    Place,
    container_name,
    describe,
    fits,
    user,
)
from launcher.spawners.docker_images import Images
from launcher.spawners.docker_network import ensure_network
from launcher.spawners.endings import KILLED, too_much_memory
from registry.credentials import CredentialSource, DockerConfig

#: Seconds between asking a server to end and killing it.
GRACE_SECONDS = 2
#: For so many seconds a container that ran is taken to run still, so that waiting for a server costs the engine little.
FRESH_SECONDS = 0.5
#: How often a container is tried to be made while its name is taken, and the seconds between.
TRIES = 10
AGAIN_SECONDS = 0.1


class DockerSpawner:
    """The spawner of the docker engine.

    - Containers are named after their sessions and labelled with the `instance`, the service they belong to. They
      outlive the service; the next one of the same instance finds them.
    - They run without capabilities and within limits, in a network without ways to each other, and are reached by their
      own addresses, or by a port on loopback where the engine's networks are out of reach.
    - A container that ended stays, for its log, until `stop` removes it.
    - When the engine does not answer, everything raises `EngineUnavailable`: nobody takes a session for lost.
    """

    def __init__(
        self,
        settings: DockerSettings,
        limits: SessionSettings,
        *,
        instance: str,
        allow_origins: Sequence[str] = (),
        credentials: CredentialSource | None = None,
    ) -> None:
        self._settings = settings
        self._limits = limits
        self._api = DockerApi(settings.host)
        self._images = Images(self._api, credentials or DockerConfig(), pull_seconds=settings.pull_timeout_seconds)
        self._place = Place(instance, settings.network, settings.publish_ports, allow_origins, limits.environment)
        self._addresses: dict[str, Address] = {}
        self._ran: dict[str, float] = {}
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    async def __aenter__(self) -> Self:
        await self._api.__aenter__()
        try:
            async with _told("The network for sessions cannot be made."):
                await ensure_network(self._api, self._place.network)
        except BaseException:
            await self._api.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._api.__aexit__(kind, error, trace)

    async def start(self, request: SessionRequest) -> None:
        """Ask for a server; its container runs when this returns."""
        container = container_name(request.name)
        if container is None:
            raise SessionFailed(f"No session can be called {request.name!r}.", hint="")
        async with self._lock(request.name), _told("The container could not be started."):
            found = await self._ours(request.name)
            if found is None or not found["State"]["Running"]:
                await self._begin(request, container)
                found = await self._ours(request.name)
            self._remember(request.name, found)

    async def poll(self, name: str) -> Status:
        """Whether the container is there and runs."""
        if time.monotonic() - self._ran.get(name, -FRESH_SECONDS) < FRESH_SECONDS:
            return Status(Running.RUNNING)
        async with _told("The container could not be looked at."):
            found = await self._ours(name)
        if found is None:
            return Status(Running.MISSING)
        self._remember(name, found)
        if found["State"]["Running"]:
            return Status(Running.RUNNING)
        return Status(Running.EXITED, failure=_out_of_memory(found))

    async def address(self, name: str) -> Address | None:
        """Where the server listens; known once its container runs."""
        if name not in self._addresses:
            await self.poll(name)
        return self._addresses.get(name)

    async def stop(self, name: str) -> None:
        """End everything in the container, and remove it with its files."""
        async with self._lock(name), _told("The container could not be removed."):
            self._forget(name)
            found = await self._ours(name)
            if found is not None:
                await self._remove(found)
            self._forget(name)

    async def list(self) -> list[str]:
        """Names of all sessions of this instance that have a container, whoever started it."""
        labels = json.dumps({"label": [f"{DATA_LABEL}={self._place.instance}", SESSION_LABEL]})
        async with _told("The containers could not be listed."):
            found = await self._api.ask("GET", "/containers/json", query={"all": "true", "filters": labels})
        return sorted(item["Labels"][SESSION_LABEL] for item in found)

    async def logs(self, name: str, lines: int = 100) -> str:
        """The last lines the container wrote, without its token."""
        async with _told("The container's log could not be read."):
            found = await self._ours(name)
            if found is None:
                return ""
            query = {"stdout": "true", "stderr": "true", "tail": str(max(lines, 0))}
            stream = await self._api.ask("GET", f"/containers/{found['Id']}/logs", query=query)
        return docker_log.read(stream, lines, _token(found))

    def _lock(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())

    async def _ours(self, name: str) -> dict[str, Any] | None:
        """What the engine knows of a session's container, if it is there and belongs to this instance."""
        container = container_name(name)
        if container is None:
            return None
        try:
            found: dict[str, Any] = await self._api.ask("GET", f"/containers/{container}/json")
        except EngineRefused as refused:
            if refused.status == 404:
                return None
            raise
        return found if found["Config"]["Labels"].get(DATA_LABEL) == self._place.instance else None

    async def _begin(self, request: SessionRequest, container: str) -> None:
        """Make a container run that does not."""
        image = await self._images.find(request.image)
        description = describe(request, self._place, self._limits, as_user=user(image))
        await self._make(request.name, container, description)
        try:
            await self._run(container)
        except EngineRefused:
            # It never ran, so it has no log that anybody would miss.
            await self._discard(container)
            raise

    async def _make(self, name: str, container: str, description: dict[str, Any]) -> None:
        """Have a container of this description; what is left of another one is removed."""
        for _ in range(TRIES):
            found = await self._ours(name)
            if found is not None and fits(found, description):
                return
            if found is not None:
                await self._remove(found)
            try:
                await self._api.ask("POST", "/containers/create", query={"name": container}, body=description)
                return
            except EngineRefused as refused:
                if refused.status != 409:
                    raise
            # Somebody else is making it at this moment, or has the name for good.
            await asyncio.sleep(AGAIN_SECONDS)
        raise SessionFailed(f"Docker has another container that is called {container}.", hint="Launch again.")

    async def _run(self, container: str) -> None:
        try:
            await self._api.ask("POST", f"/containers/{container}/start")
        except EngineRefused as refused:
            if refused.status != 404 or "network" not in refused.message:
                raise
            await ensure_network(self._api, self._place.network)
            await self._api.ask("POST", f"/containers/{container}/start")

    async def _remove(self, found: dict[str, Any]) -> None:
        if found["State"]["Running"]:
            with contextlib.suppress(EngineRefused):
                await self._api.ask("POST", f"/containers/{found['Id']}/stop", query={"t": str(GRACE_SECONDS)})
        await self._discard(found["Id"])

    async def _discard(self, container: str) -> None:
        """Remove a container, or wait until whoever removes it already is done."""
        try:
            await self._api.ask("DELETE", f"/containers/{container}", query={"force": "true", "v": "true"})
        except EngineRefused as refused:
            if refused.status == 409:
                await self._wait_removed(container)
            elif refused.status != 404:
                raise

    async def _wait_removed(self, container: str) -> None:
        with contextlib.suppress(EngineRefused):
            await self._api.ask("POST", f"/containers/{container}/wait", query={"condition": "removed"})

    def _remember(self, name: str, found: dict[str, Any] | None) -> None:
        if found is None or not found["State"]["Running"]:
            self._forget(name)
            return
        self._ran[name] = time.monotonic()
        address = _address(found["NetworkSettings"], self._place)
        if address is not None:
            self._addresses[name] = address

    def _forget(self, name: str) -> None:
        self._addresses.pop(name, None)
        self._ran.pop(name, None)


def _address(network: dict[str, Any], place: Place) -> Address | None:
    if place.published:
        ports = network["Ports"].get(f"{PORT}/tcp") or []
        return next((Address(host=port["HostIp"], port=int(port["HostPort"])) for port in ports), None)
    host = network["Networks"].get(place.network, {}).get("IPAddress")
    return Address(host=host, port=PORT) if host else None


def _out_of_memory(found: dict[str, Any]) -> SessionFailed | None:
    # Docker also says so of a server that outlived what it had started.
    state = found["State"]
    killed = bool(state.get("OOMKilled")) and state.get("ExitCode") == KILLED
    return too_much_memory(found["HostConfig"]["Memory"]) if killed else None


def _token(found: dict[str, Any]) -> str:
    variables: dict[str, str] = dict(item.partition("=")[::2] for item in found["Config"]["Env"])
    return variables.get("JUPYTER_TOKEN", "")


@contextlib.asynccontextmanager
async def _told(message: str) -> AsyncIterator[None]:
    """Tell people what the engine's refusal means."""
    try:
        yield
    except EngineRefused as refused:
        raise SessionFailed(message, hint=f"Docker says: {refused.message[:300]}") from refused
