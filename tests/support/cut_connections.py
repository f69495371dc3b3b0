"""A way to a server on which connections can be cut at any moment."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field


@dataclass
class CutsConnections:
    """Carries bytes to a server and back; `cut` ends every connection there is, and while it is `away` each new one."""

    host: str
    port: int
    #: Where it listens.
    own_port: int = 0
    cuts: int = 0
    away: bool = False
    refused: int = 0
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    def cut(self) -> None:
        """End every connection, as a proxy does that is restarted."""
        for writer in list(self._open):
            writer.transport.abort()
            self.cuts += 1

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, to its end."""
        if self.away:
            self.refused += 1
            writer.transport.abort()
            return
        up_reader, up_writer = await asyncio.open_connection(self.host, self.port)
        self._open |= {writer, up_writer}
        try:
            with contextlib.suppress(OSError):
                await asyncio.gather(_pump(reader, up_writer), _pump(up_reader, writer))
        finally:
            self._open -= {writer, up_writer}
            writer.close()
            up_writer.close()


@contextlib.asynccontextmanager
async def cutting(host: str, port: int) -> AsyncIterator[CutsConnections]:
    """The way to a server while the block runs, on a loopback port."""
    way = CutsConnections(host, port)
    server = await asyncio.start_server(way.carry, "127.0.0.1", 0)
    way.own_port = server.sockets[0].getsockname()[1]
    try:
        yield way
    finally:
        server.close()
        way.cut()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
