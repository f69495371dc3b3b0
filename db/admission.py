"""Who gets a place; every function works on a caller's transaction, and lets nobody else count until that ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from bindery.errors import QuotaReached, RepositoryQuotaReached
from db import seats
from db.line import Room, Waiting, seat

#: After how many seconds a refused visitor may try again when nothing tells how long sessions last.
RETRY_SECONDS = 60.0


@dataclass(frozen=True)
class Claim:
    """What a new session needs a place of: a repository that may have `most` sessions (0: no limit)."""

    repository: str
    repo_url: str
    most: int


async def check(connection: AsyncConnection, claim: Claim, room: Room, now: float) -> None:
    """Raise `QuotaReached` if a new session has no place, nor one in the line."""
    await seats.alone(connection)
    full = bool(room.sessions) and await seats.present(connection, now) >= room.sessions
    if not full and (not claim.most or await seats.present(connection, now, claim.repository) < claim.most):
        return
    if room.waiting:
        waiting = await seats.waiting(connection, now, built=False)
        _, places = seat(waiting, await seats.occupied(connection), room)
        if len(places) < room.waiting:
            return
    error = QuotaReached("Too many users on this BinderHub! Try again soon.")
    if not full:
        error = RepositoryQuotaReached(f"Too many users running {claim.repo_url}! Try again soon.")
    pace = await seats.pace(connection, "" if full else claim.repository, now)
    error.retry_after_seconds = RETRY_SECONDS if pace is None else pace
    raise error


async def seated(connection: AsyncConnection, candidates: Sequence[Waiting], room: Room) -> tuple[str, ...]:
    """Those who get a place now, of candidates in the order in which they came."""
    if not room.sessions and not any(each.most for each in candidates):
        return tuple(each.id for each in candidates)
    await seats.alone(connection)
    return seat(candidates, await seats.occupied(connection), room)[0]
