"""Previews: plans that somebody wants to see without a build; one row for each image that a build would make."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields

from sqlalchemy import delete, func, insert, or_, select, update
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from bindery.errors import QuotaReached
from db.builds import LeaseLost, Wanted
from db.engine import Database
from db.events import Failure
from db.states import PREVIEW_ENDS, PreviewState
from db.tables import previews
from db.wakeups import Wakeups

#: Topic that wakes whoever makes previews.
WANTED = "previews"


@dataclass(frozen=True)
class Preview:
    """One row. `notes` are the engine's own warnings about the plan.

    A plan may come with the error that a build of it would end with.
    """

    image: str
    provider: str
    spec: str
    repo_url: str
    ref: str
    ref_url: str
    state: PreviewState
    attempt: int
    plan: str | None
    notes: Sequence[str]
    error_code: str | None
    error_message: str | None
    error_hint: str | None
    error_retryable: bool | None
    created_at: float
    finished_at: float | None

    @property
    def ended(self) -> bool:
        """Whether nothing will happen to it any more."""
        return self.state in PREVIEW_ENDS

    @property
    def failure(self) -> Failure | None:
        """Why there is no plan, or why a build of it would fail."""
        if self.error_code is None:
            return None
        return Failure(self.error_code, self.error_message or "", self.error_hint or "", bool(self.error_retryable))


_COLUMNS = [previews.c[field.name] for field in fields(Preview)]


class PreviewStore:
    """Reads and writes previews; a claim is exclusive while its lease lasts, and every write names its attempt."""

    def __init__(self, database: Database, wakeups: Wakeups) -> None:
        self._database = database
        self._wakeups = wakeups

    async def get(self, image: str) -> Preview | None:
        """The preview of an image."""
        async with self._database.read() as connection:
            return await _one(connection, image)

    async def request(self, wanted: Wanted, most: int, now: float) -> Preview:
        """The preview of an image, there or wanted from now on.

        One that failed in a way that may pass is wanted anew. Raises `QuotaReached` when `most` are wanted already.
        """
        async with self._database.write(alone="previews") as connection:
            known = await _one(connection, wanted.image)
            if known is not None and not (known.state is PreviewState.FAILED and known.error_retryable):
                return known
            unfinished = select(func.count()).select_from(previews).where(previews.c.state.not_in(PREVIEW_ENDS))
            if int(await connection.scalar(unfinished) or 0) >= most:
                raise QuotaReached("Too many people want to see plans at the moment.")
            await connection.execute(delete(previews).where(previews.c.image == wanted.image))
            row = {**wanted.__dict__, "state": PreviewState.WANTED, "created_at": now}
            await connection.execute(insert(previews).values(**row))
            created = await _one(connection, wanted.image)
        assert created is not None
        self._wakeups.notify(WANTED)
        return created

    async def claim(self, lease_seconds: float, now: float) -> Preview | None:
        """Take the oldest that is wanted, or whose maker's lease has ended."""
        async with self._database.write() as connection:
            left = (previews.c.state == PreviewState.PLANNING) & (previews.c.lease_until < now)
            waiting = or_(previews.c.state == PreviewState.WANTED, left)
            query = select(previews.c.image).where(waiting).order_by(previews.c.created_at).limit(1)
            image = await connection.scalar(query.with_for_update(skip_locked=True))
            if image is None:
                return None
            change = {"attempt": previews.c.attempt + 1, "lease_until": now + lease_seconds}
            taken = update(previews).where(previews.c.image == image)
            await connection.execute(taken.values(state=PreviewState.PLANNING, **change))
            return await _one(connection, image)

    async def finish(
        self, preview: Preview, plan: str | None, notes: Sequence[str], failure: Failure | None, now: float
    ) -> None:
        """Write the plan, or why there is none. Raises `LeaseLost`."""
        state = PreviewState.FAILED if plan is None else PreviewState.PLANNED
        error = {f"error_{name}": value for name, value in failure.__dict__.items()} if failure else {}
        mine = (previews.c.image == preview.image) & (previews.c.attempt == preview.attempt)
        change = update(previews).where(mine, previews.c.state == PreviewState.PLANNING)
        values = {"state": state, "plan": plan, "notes": json.dumps(list(notes)), "finished_at": now, **error}
        async with self._database.write() as connection:
            if (await connection.execute(change.values(lease_until=None, **values))).rowcount == 0:
                raise LeaseLost(preview.image)
        self._wakeups.notify(topic(preview.image))

    async def release(self) -> None:
        """End all leases, so that the next claim may take what a maker left."""
        async with self._database.write() as connection:
            held = previews.c.state == PreviewState.PLANNING
            await connection.execute(update(previews).where(held).values(lease_until=0.0))


def topic(image: str) -> str:
    """The wake-up topic of a preview's end."""
    return f"preview:{image}"


async def _one(connection: AsyncConnection, image: str) -> Preview | None:
    row = (await connection.execute(select(*_COLUMNS).where(previews.c.image == image))).mappings().first()
    return None if row is None else _preview(row)


def _preview(row: RowMapping) -> Preview:
    return Preview(**{**row, "state": PreviewState(row["state"]), "notes": json.loads(row["notes"] or "[]")})
