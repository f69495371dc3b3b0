"""Spawners of containers in the engine of the tests; run as a program, one to be killed.

python -m tests.support.docker_sessions INSTANCE NAME IMAGE TOKEN
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from bindery.settings import DockerSettings, SessionSettings
from launcher.spawners.base import SessionRequest
from launcher.spawners.docker import DockerSpawner
from tests.support.docker import engine

#: The network of the tests' sessions.
NETWORK = "bindery-test0"


def docker_spawner(
    limits: SessionSettings, *, instance: str, allow_origins: Sequence[str] = (), **docker: object
) -> DockerSpawner:
    """A spawner, not open yet; `docker` are settings of the section of that name."""
    settings = DockerSettings.model_validate({"host": engine().host, "network": NETWORK, **docker})
    return DockerSpawner(settings, limits, instance=instance, allow_origins=allow_origins)


class EngineThatGoesAway:
    """A way to the engine of the tests that can be closed: connections break, new ones are refused."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="bindery-engine-")
        self._socket = Path(self._folder.name) / "docker.sock"
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def host(self) -> str:
        """Where it listens."""
        return f"unix://{self._socket}"

    async def __aenter__(self) -> Self:
        await self.come_back()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.go()
        self._folder.cleanup()

    async def come_back(self) -> None:
        """Answer again."""
        self._server = await asyncio.start_unix_server(self._carry, self._socket)

    async def go(self) -> None:
        """Break all connections and take no new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self._socket.unlink(missing_ok=True)
        for writer in tuple(self._open):
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection(engine().host.removeprefix("unix://"))
        self._open |= {writer, far_writer}
        try:
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        finally:
            self._open -= {writer, far_writer}


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def _serve(instance: str, name: str, image: str, token: str) -> None:
    async with docker_spawner(SessionSettings(), instance=instance) as spawner:
        await spawner.start(SessionRequest(name, image, f"/user/{name}/", token, {}))
        print("started", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:]))
