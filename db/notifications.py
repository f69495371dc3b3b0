"""Wake-ups between processes: PostgreSQL's LISTEN and NOTIFY."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import func, select

from bindery.errors import BinderyError
from bindery.settings import DatabaseSettings
from db import postgres
from db.engine import Database
from db.wakeups import Wakeups

if TYPE_CHECKING:
    from psycopg import AsyncConnection

log = structlog.get_logger(__name__)

CHANNEL = "bindery"
#: Bytes of one notification; PostgreSQL takes less than 8000.
LONGEST = 7000
#: Topics that wait to be sent at most: they are hints, whoever misses one looks at the rows a little later.
MOST_WAITING = 10_000
#: Seconds for which topics are gathered into one notification.
GATHER_SECONDS = 0.02
#: Seconds after which a silent connection is asked whether it is still there.
SILENCE_SECONDS = 20.0
#: Seconds between two tries to connect.
RETRY_SECONDS = 1.0


class Notifications:
    """Tells other processes of this one's wake-ups, and this one of theirs, while `run` does.

    - One connection listens; when it breaks another one is made, and everybody is woken for what may have been missed.
    - What cannot be sent is dropped: nobody relies on a hint.
    """

    def __init__(self, database: Database, settings: DatabaseSettings, wakeups: Wakeups) -> None:
        self._database = database
        self._settings = settings
        self._wakeups = wakeups
        self._me = secrets.token_hex(8)
        self._waiting: dict[str, None] = {}
        self._some = asyncio.Event()

    async def run(self) -> None:
        """Listen and send until cancelled."""
        self._wakeups.relay = self._add
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen_for_ever())
            group.create_task(self._send_for_ever())

    def _add(self, topic: str) -> None:
        if len(self._waiting) < MOST_WAITING:
            self._waiting[topic] = None
            self._some.set()

    async def _send_for_ever(self) -> None:
        while True:
            await self._some.wait()
            await asyncio.sleep(GATHER_SECONDS)
            topics, self._waiting = self._waiting, {}
            self._some.clear()
            with contextlib.suppress(BinderyError):
                async with self._database.read() as connection:
                    for payload in payloads(self._me, topics):
                        await connection.execute(select(func.pg_notify(CHANNEL, payload)))

    async def _listen_for_ever(self) -> None:
        from psycopg import Error

        while True:
            try:
                await self._listen()
            except (Error, OSError) as error:
                log.warning("notifications.broken", reason=str(error).strip())
            await asyncio.sleep(RETRY_SECONDS)

    async def _listen(self) -> None:
        from psycopg import AsyncConnection

        where = postgres.conninfo(self._database.url, self._settings)
        async with await AsyncConnection.connect(where, autocommit=True, prepare_threshold=None) as connection:
            await connection.execute(f"LISTEN {CHANNEL}")
            self._wakeups.wake_all()
            while True:
                await self._heard(connection)
                await connection.execute("SELECT 1")

    async def _heard(self, connection: AsyncConnection) -> None:
        """Pass on what is heard until there is silence."""
        async for heard in connection.notifies(timeout=SILENCE_SECONDS):
            sender, *topics = heard.payload.split("\n")
            if sender != self._me:
                for topic in topics:
                    self._wakeups.wake(topic)


def payloads(sender: str, topics: Iterable[str]) -> Iterator[str]:
    """The topics in as few notifications as can be, each with its sender first."""
    lines = [sender]
    size = len(sender)
    for topic in topics:
        if len(topic.encode()) > LONGEST - 100 or "\n" in topic:
            continue
        size += len(topic.encode()) + 1
        if size > LONGEST:
            yield "\n".join(lines)
            lines, size = [sender], len(sender) + len(topic.encode()) + 1
        lines.append(topic)
    if len(lines) > 1:
        yield "\n".join(lines)
