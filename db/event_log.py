"""The event log: every line a visitor sees, numbered, kept with its build or session."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Table, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from db.events import Event

#: Most rows that one read of a log returns.
PAGE = 2000


@dataclass(frozen=True)
class LoggedEvent:
    """An event's number in its log, and the JSON object of the stream."""

    seq: int
    payload: str


def encode(event: Event) -> str:
    """The event as the stream's JSON object; an empty phase is left out."""
    fields: dict[str, Any] = {"phase": event.phase} if event.phase else {}
    return json.dumps({**fields, "message": event.message, **event.fields})


async def append(
    connection: AsyncConnection, log: Table, owner: str, last_seq: int, events: Sequence[Event], now: float
) -> None:
    """Write events that end at number `last_seq`, which the caller has reserved in the owner's row."""
    if events:
        await connection.execute(insert(log), rows(log, owner, last_seq, events, now))


def rows(log: Table, owner: str, last_seq: int, events: Sequence[Event], now: float) -> list[dict[str, Any]]:
    """The rows of events that end at number `last_seq`."""
    first = last_seq - len(events) + 1
    key = _owner(log).name
    return [
        {key: owner, "seq": first + index, "created_at": now, "payload": encode(event)}
        for index, event in enumerate(events)
    ]


async def read(connection: AsyncConnection, log: Table, owner: str, after: int) -> list[LoggedEvent]:
    """The events numbered above `after`, oldest first, at most `PAGE`."""
    query = select(log.c.seq, log.c.payload).where(_owner(log) == owner, log.c.seq > after)
    rows = await connection.execute(query.order_by(log.c.seq).limit(PAGE))
    return [LoggedEvent(seq, payload) for seq, payload in rows]


@dataclass(frozen=True)
class Tail:
    """The end of a log: events, at most `PAGE`, and the state of its owner as they were read; None: it is gone."""

    events: list[LoggedEvent]
    state: str | None

    @property
    def complete(self) -> bool:
        """Whether there were no more events."""
        return len(self.events) < PAGE


async def follow(connection: AsyncConnection, owners: Table, log: Table, owner: str, after: int) -> Tail:
    """The events numbered above `after`, with the owner's state, in one look."""
    mine = (_owner(log) == owners.c.id) & (log.c.seq > after)
    query = select(owners.c.state, log.c.seq, log.c.payload).select_from(owners.outerjoin(log, mine))
    rows = (await connection.execute(query.where(owners.c.id == owner).order_by(log.c.seq).limit(PAGE))).all()
    events = [LoggedEvent(seq, payload) for _, seq, payload in rows if seq is not None]
    return Tail(events, rows[0][0] if rows else None)


def _owner(log: Table) -> Column[Any]:
    return next(iter(log.primary_key.columns))
