"""A way to the cluster's API that can be closed: connections break, new ones are refused."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import yaml


class ApiGoesAway:
    """Stands between a client and the API of `kubeconfig`; `file` is the kubeconfig that leads through it."""

    def __init__(self, kubeconfig: Path, file: Path) -> None:
        self.file = file
        self._config: dict[str, Any] = yaml.safe_load(kubeconfig.read_text())
        self._cluster: dict[str, Any] = self._config["clusters"][0]["cluster"]
        self._far = urlsplit(self._cluster["server"])
        self._server: asyncio.Server | None = None
        self._port = 0
        self._open: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        await self.come_back()
        self._cluster |= {"server": f"https://127.0.0.1:{self._port}", "tls-server-name": self._far.hostname}
        self.file.write_text(yaml.safe_dump(self._config))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.go()

    async def come_back(self) -> None:
        """Answer again."""
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def go(self) -> None:
        """Break all connections and take no new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in tuple(self._open):
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(self._far.hostname, self._far.port or 443)
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
