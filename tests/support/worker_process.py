"""A worker as a process of its own, over a shared PostgreSQL, that may be told where to stop for ever.

`python -m tests.support.worker_process JSON`; the fields are those of `Orders`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator
from dataclasses import asdict, dataclass
from pathlib import Path

from bindery.settings import BuildSettings, DatabaseSettings, FetchSettings
from builder.documents.desk import Desk
from builder.engines.base import BuildJob, EnvironmentInfo, Running
from builder.fetch_limits import Tell
from builder.guard import Guard, GuardedClient
from builder.plan import Plan, PlanContext
from builder.providers.base import Resolved
from builder.providers.over_git import from_git
from builder.worker import Worker, Workshop
from db.builds import BuildStore
from db.documents import DocumentStore
from db.engine import Database
from db.environments import EnvironmentStore
from db.events import Event
from db.images import ImageStore
from db.notifications import Notifications
from db.wakeups import Wakeups

LEASE_SECONDS = 1.5


@dataclass(frozen=True)
class Orders:
    """Where the worker works, and at which state it stops for ever."""

    url: str
    folder: str
    hangs_at: str = ""

    def to_json(self) -> str:
        """As an argument."""
        return json.dumps(asdict(self))


class HangsAt:
    """Builds nothing but files that say so; hangs where it was told to, and leaves a file that says that too."""

    context = PlanContext("1", "tests", "3.11", ("3.11",))

    def __init__(self, orders: Orders, client: GuardedClient) -> None:
        self._orders = orders
        self._client = client
        self._folder = Path(orders.folder)

    async def at(self, state: str) -> None:
        """Hang if it is here."""
        if state == self._orders.hangs_at:
            (self._folder / f"hangs-{os.getpid()}").touch()
            await asyncio.Event().wait()

    async def wider_context(self) -> PlanContext:
        return self.context

    def check(self, plan: Plan) -> tuple[str, ...]:
        return ()

    async def find(self, key: str) -> EnvironmentInfo | None:
        await self.at("planning")
        made = self._folder / f"environment-{key}"
        return EnvironmentInfo(key, 1.0, "", joined=False) if made.exists() else None

    async def environment(self, job: BuildJob) -> AsyncGenerator[Event, None]:
        made = self._folder / f"environment-{job.plan.environment_key}"
        if made.exists():
            return
        yield Event("building", "making the environment\n")
        await self.at("building")
        self._record(f"environment {job.build_id}")
        made.touch()

    async def image(self, job: BuildJob) -> AsyncGenerator[Event, None]:
        yield Event("building", "adding the content\n")
        await self.at("composing")
        self._record(f"image {job.build_id}")

    async def reap(self, running: Running) -> None:
        return None

    async def fetch(self, resolved: Resolved, folder: Path, limits: FetchSettings, tell: Tell) -> str:
        await self.at("fetching")
        return await from_git(self._client, resolved, folder, limits, tell)

    def _record(self, line: str) -> None:
        with (self._folder / "made").open("a") as file:
            file.write(line + "\n")


async def work(orders: Orders) -> None:
    """Work until killed."""
    settings = DatabaseSettings(migrate=False)
    database, wakeups = Database(orders.url, settings), Wakeups()
    await database.open()
    async with GuardedClient(Guard(True, 20)) as client:
        engine = HangsAt(orders, client)
        shop = Workshop(
            builds=BuildStore(database, wakeups),
            images=ImageStore(database),
            environments=EnvironmentStore(database),
            engine=engine,
            client=client,
            wakeups=wakeups,
            scratch=Path(orders.folder) / f"scratch-{os.getpid()}",
            build=BuildSettings(lease_seconds=LEASE_SECONDS),
            fetch=FetchSettings(),
            desk=Desk(DocumentStore(database, wakeups), wakeups, frozenset()),
            providers={"gh": engine},
        )
        await asyncio.gather(Worker(shop).run(), Notifications(database, settings, wakeups).run())


if __name__ == "__main__":
    asyncio.run(work(Orders(**json.loads(sys.argv[1]))))
