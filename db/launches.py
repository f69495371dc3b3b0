"""Launches that have ended: what remains of them for statistics, without anything of their visitors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import ColumnElement, Integer, case, cast, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from db.engine import Database
from db.tables import launches

#: The newest launches that are looked through for different repositories.
_NEWEST = 200


class Outcome(StrEnum):
    READY = "ready"  #: the visitor got a server
    FAILED = "failed"  #: it ended with an error, which the row names
    LEFT = "left"  #: nobody waited for it any more


@dataclass(frozen=True)
class Launch:
    """One row. `session` is the session's public name; `seconds` since it was asked for; `built`: a build came first.

    `link` is the visitor's own, such as `v2/gh/owner/name/HEAD`.
    """

    session: str
    ended_at: float
    outcome: Outcome
    error_code: str | None
    seconds: float
    built: bool
    provider: str
    repo_url: str
    link: str


@dataclass(frozen=True)
class Tally:
    """How many launches of one slice of time ended in one way; `slot` counts slices from the beginning."""

    slot: int
    outcome: Outcome
    error_code: str | None
    count: int


@dataclass(frozen=True)
class Times:
    """How long launches took that gave a server, in seconds: half, 95 and 99 of 100 took no longer."""

    built: bool
    count: int
    median: float
    p95: float
    p99: float


@dataclass(frozen=True)
class Popular:
    """A repository, how often it was launched, and its link that was used most."""

    provider: str
    repo_url: str
    link: str
    count: int


async def record(connection: AsyncConnection, *ended: Launch) -> None:
    """Keep launches that have just ended; each session's launch ends once."""
    await connection.execute(insert(launches), [launch.__dict__ for launch in ended])


class LaunchStore:
    """Reads the statistics. Each question reads the rows since a time, by index; who asks often remembers answers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def tallies(self, since: float, slot_seconds: int) -> list[Tally]:
        """The launches since a time, counted by slice, outcome and error."""
        # Whole seconds first: casting rounds on one database and cuts on another.
        slot = (cast(launches.c.ended_at - since, Integer) // slot_seconds).label("slot")
        query = select(slot, launches.c.outcome, launches.c.error_code, func.count())
        query = query.where(launches.c.ended_at >= since).group_by(slot, launches.c.outcome, launches.c.error_code)
        async with self._database.read() as connection:
            rows = await connection.execute(query)
            return [Tally(int(slot), Outcome(outcome), code, count) for slot, outcome, code, count in rows]

    async def times(self, since: float) -> list[Times]:
        """How long launches took since a time: those of a known image, and those that a build came before."""
        share = func.cume_dist().over(partition_by=launches.c.built, order_by=launches.c.seconds).label("share")
        ready = (launches.c.ended_at >= since) & (launches.c.outcome == Outcome.READY)
        ranked = select(launches.c.built, launches.c.seconds, share).where(ready).subquery()

        def percentile(part: float) -> ColumnElement[float]:
            return func.min(case((ranked.c.share >= part, ranked.c.seconds)))

        query = select(ranked.c.built, func.count(), percentile(0.5), percentile(0.95), percentile(0.99))
        async with self._database.read() as connection:
            rows = await connection.execute(query.group_by(ranked.c.built).order_by(ranked.c.built))
            return [Times(bool(built), *figures) for built, *figures in rows]

    async def popular(self, since: float, hidden_providers: Collection[str], most: int) -> list[Popular]:
        """The repositories that gave the most servers since a time, apart from those of some providers."""
        shown = launches.c.provider.not_in(hidden_providers) & (launches.c.ended_at >= since)
        query = select(launches.c.provider, launches.c.repo_url, launches.c.link, func.count().label("used"))
        query = query.where(shown, launches.c.outcome == Outcome.READY)
        links = query.group_by(launches.c.provider, launches.c.repo_url, launches.c.link).subquery()
        total = func.sum(links.c.used).over(partition_by=links.c.repo_url).label("total")
        rank = func.row_number().over(partition_by=links.c.repo_url, order_by=links.c.used.desc()).label("rank")
        ranked = select(links, total, rank).subquery()
        best = select(ranked.c.provider, ranked.c.repo_url, ranked.c.link, ranked.c.total).where(ranked.c.rank == 1)
        async with self._database.read() as connection:
            rows = await connection.execute(best.order_by(ranked.c.total.desc(), ranked.c.repo_url).limit(most))
            return [Popular(provider, repo_url, link, int(count)) for provider, repo_url, link, count in rows]

    async def recent(self, since: float, hidden_providers: Collection[str], most: int) -> list[Popular]:
        """The repositories that gave a server last, the newest first, each once, with its newest link."""
        query = select(launches.c.provider, launches.c.repo_url, launches.c.link)
        shown = launches.c.provider.not_in(hidden_providers) & (launches.c.ended_at >= since)
        query = query.where(shown, launches.c.outcome == Outcome.READY).order_by(launches.c.ended_at.desc())
        async with self._database.read() as connection:
            rows = list(await connection.execute(query.limit(_NEWEST)))
        counts = Counter(row.repo_url for row in rows)
        newest = {row.repo_url: row for row in reversed(rows)}
        found = [newest[repo_url] for repo_url in dict.fromkeys(row.repo_url for row in rows)]
        return [Popular(row.provider, row.repo_url, row.link, counts[row.repo_url]) for row in found[:most]]
