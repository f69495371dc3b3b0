"""The line: who of those who wait for a place gets one, and where the others stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Room:
    """How many sessions there may be (0: no limit), and how many visitors may wait for one."""

    sessions: int = 0
    waiting: int = 0


@dataclass(frozen=True)
class Allowance:
    """What one repository may take: sessions at a time (0: no limit), and what each may use (None: as all may)."""

    sessions: int = 0
    memory_bytes: int | None = None
    cpus: float | None = None
    idle_seconds: float | None = None
    max_age_seconds: float | None = None


@dataclass(frozen=True)
class Waiting:
    """One who waits: a session's id, its repository, and how many sessions that may have (0: no limit)."""

    id: str
    repository: str
    most: int


@dataclass(frozen=True)
class Place:
    """Where a session stands in its line, from 1 on.

    `repository` is what has to give a place free; empty: any session. `estimate_seconds` is how long that may take,
    judged by how sessions ended lately; None when none did.
    """

    position: int
    repository: str = ""
    estimate_seconds: float | None = None


def seat(
    waiting: Sequence[Waiting], occupied: Mapping[str, int], room: Room
) -> tuple[tuple[str, ...], dict[str, Place]]:
    """Who may start now, and the places of those who may not. `occupied` counts what runs, by repository.

    First come, first served, except that whoever waits for a repository's place holds up nobody else.
    """
    taken = Counter(occupied)
    free = room.sessions - taken.total() if room.sessions else len(waiting)
    seated: list[str] = []
    standing: Counter[str] = Counter()
    places: dict[str, Place] = {}
    for one in waiting:
        full = one.repository if one.most and taken[one.repository] >= one.most else ""
        if not full and free > 0:
            seated.append(one.id)
            taken[one.repository] += 1
            free -= 1
            continue
        standing[full] += 1
        places[one.id] = Place(standing[full], full)
    return tuple(seated), places
