"""How often each client asked lately: fixed windows, counted in the database so that all replicas count together."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sqlalchemy import delete

from db.engine import Database
from db.tables import rates
from db.upsert import upsert


@dataclass(frozen=True)
class Rate:
    """A client's account in the present window. `reset_at` is the Unix time at which it ends."""

    limit: int
    count: int
    reset_at: float

    @property
    def remaining(self) -> int:
        """How many requests are left."""
        return max(self.limit - self.count, 0)

    @property
    def exceeded(self) -> bool:
        """Whether this request was one too many."""
        return self.count > self.limit


class RateStore:
    """Counts requests by client and window."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def count(self, client: str, limit: int, period_seconds: float, now: float) -> Rate:
        """Count one request; drops windows that have ended."""
        window = math.floor(now / period_seconds)
        async with self._database.write() as connection:
            await connection.execute(delete(rates).where(rates.c.window < window))
        async with self._database.write() as connection:
            statement = upsert(connection, rates).values(client=client, window=window, count=1)
            counted = statement.on_conflict_do_update(
                index_elements=["client", "window"], set_={"count": rates.c.count + 1}
            )
            row = await connection.execute(counted.returning(rates.c.count))
            count = int(row.scalar_one())
        return Rate(limit, count, (window + 1) * period_seconds)
