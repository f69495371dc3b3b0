"""Where sessions run: the Protocol of every engine's spawner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from bindery.errors import BinderyError


@dataclass(frozen=True)
class SessionRequest:
    """What a session is started with.

    `name` is the session's identity in the engine. The server serves below `base_url` (`/user/<name>/`, with the
    service's own prefix in front) and accepts `token`. `environment` is added to the server's variables. `memory_bytes`
    and `cpus` are what this one session may use, where that differs from the settings.
    """

    name: str
    image: str
    base_url: str
    token: str
    environment: Mapping[str, str]
    memory_bytes: int | None = None
    cpus: float | None = None


@dataclass(frozen=True)
class Address:
    """Where a session's server listens: a Unix socket's path, or host and port."""

    socket: str | None = None
    host: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        return f"unix:{self.socket}" if self.socket else f"tcp:{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read what `str` gives."""
        scheme, _, rest = text.partition(":")
        if scheme == "unix":
            return cls(socket=rest)
        host, _, port = rest.rpartition(":")
        return cls(host=host, port=int(port))


class Running(StrEnum):
    """Whether a session's server is there."""

    STARTING = "starting"  #: asked for, and not running yet
    RUNNING = "running"
    EXITED = "exited"
    MISSING = "missing"


@dataclass(frozen=True)
class Status:
    """What an engine knows about a session's server.

    `steps` are lines for its visitor about the way there so far; those that were there once stay. `failure` is why the
    server ended, or will never run, where the engine knows.
    """

    running: Running
    steps: tuple[str, ...] = ()
    failure: BinderyError | None = None


class Spawner(Protocol):
    """Starts and ends notebook servers.

    - `start` is idempotent by name: a server of that name that runs already is adopted. It returns once the server
      was asked for; `address` tells where it will answer.
    - `stop` ends the server, everything it started, and removes its files; unknown names are no error.
    - Errors are `BinderyError`s.
    """

    async def start(self, request: SessionRequest) -> None:
        """Ask for a server."""
        ...

    async def poll(self, name: str) -> Status:
        """Whether the server's process, container or pod is there and runs; asked often, so it must cost little."""
        ...

    async def address(self, name: str) -> Address | None:
        """Where the server listens, once that is known."""
        ...

    async def stop(self, name: str) -> None:
        """End the server and remove what belongs to it."""
        ...

    async def list(self) -> list[str]:
        """Names of all sessions that this engine has anything of, running or not."""
        ...

    async def logs(self, name: str, lines: int = 100) -> str:
        """The last lines the server wrote; empty when there are none."""
        ...
