"""Leases: what only one of all processes does at a time, and who that is."""

from __future__ import annotations

from sqlalchemy import delete, or_

from db.engine import Database
from db.tables import leases
from db.upsert import upsert
from db.wakeups import Wakeups


class LeaseStore:
    """Gives each named duty to one owner at a time, until its lease ends or it is given back."""

    def __init__(self, database: Database, wakeups: Wakeups) -> None:
        self._database = database
        self._wakeups = wakeups

    async def take(self, name: str, owner: str, seconds: float, now: float) -> bool:
        """Take a duty, or keep it for longer; False while it is another one's."""
        values = {"owner": owner, "lease_until": now + seconds}
        mine = or_(leases.c.owner == owner, leases.c.lease_until < now)
        async with self._database.write() as connection:
            taken = upsert(connection, leases).values(name=name, **values)
            taken = taken.on_conflict_do_update(index_elements=["name"], set_=values, where=mine)
            return (await connection.execute(taken.returning(leases.c.name))).first() is not None

    async def release(self, name: str, owner: str) -> None:
        """Give a duty back."""
        async with self._database.write() as connection:
            await connection.execute(delete(leases).where(leases.c.name == name, leases.c.owner == owner))
        self._wakeups.notify(topic(name))


def topic(name: str) -> str:
    """The wake-up topic of a duty that is free."""
    return f"lease:{name}"
