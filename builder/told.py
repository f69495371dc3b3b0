"""How far the log of an earlier attempt goes: what runs outside of a worker is told on from there."""

from __future__ import annotations

import json
from collections.abc import Iterable

from db.builds import Build, BuildStore
from db.event_log import PAGE, LoggedEvent

#: The field of an event that names a log outside of the worker and a line of it, `name:number`.
MARK = "at"


async def told(store: BuildStore, build: Build) -> dict[str, int]:
    """The last line that the build's log has of each log outside of it, as far as that may still go on."""
    return marks(await store.events(build.id, max(0, build.last_seq - PAGE)))


def marks(events: Iterable[LoggedEvent]) -> dict[str, int]:
    """The last number for each name: one that begins anew begins with 1 again."""
    found: dict[str, int] = {}
    for event in events:
        name, _, number = str(json.loads(event.payload).get(MARK, "")).rpartition(":")
        if name and number.isdecimal():
            found[name] = int(number)
    return found
