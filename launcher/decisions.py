"""What is to be done about a session: a pure function of its row, its build and the clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from bindery.settings import SessionSettings
from db.builds import Build
from db.seats import UNWATCHED_SECONDS
from db.sessions import Session
from db.states import BuildState, SessionState

#: A request that nobody came back to is given up after so many seconds.
ABANDONED_SECONDS = 900.0


class Action(Enum):
    """What a controller does with a session."""

    WAIT = auto()  #: nothing
    START = auto()  #: ask the engine for its server, once there is room
    FAIL = auto()  #: its build failed, so it fails with the same error
    FORGET = auto()  #: nobody waits for it: end it before it began
    STOP = auto()  #: end its server


@dataclass(frozen=True)
class Decision:
    """An action, and the reason a visitor may read."""

    action: Action
    reason: str = ""


_WAIT = Decision(Action.WAIT)


def decide(
    session: Session, builds: Mapping[str, Build], active: Mapping[str, float], limits: SessionSettings, now: float
) -> Decision:
    """Decide about one session. `builds` has the build of each pending one, `active` newer activity than the rows."""
    if session.state is SessionState.PENDING:
        return _pending(session, builds.get(session.build_id or ""), now)
    if session.state is SessionState.READY:
        return _ready(session, active.get(session.name), limits, now)
    if session.state is SessionState.STOPPING:
        return Decision(Action.STOP, session.stop_reason or "")
    return _WAIT


def ends_at(session: Session, limits: SessionSettings) -> float:
    """When a session that is ready will be ended, if nobody uses it from now on."""
    ready_at = session.ready_at or session.created_at
    if session.active_at is None:
        unused = ready_at + limits.unopened_seconds
    else:
        unused = session.active_at + (session.allowance.idle_seconds or limits.idle_seconds)
    return min(unused, oldest_at(session, limits))


def oldest_at(session: Session, limits: SessionSettings) -> float:
    """When a session that is ready will be ended, whatever it does."""
    ready_at = session.ready_at or session.created_at
    return ready_at + (session.allowance.max_age_seconds or limits.max_age_seconds)


def _pending(session: Session, build: Build | None, now: float) -> Decision:
    unwatched = now - session.watched_at
    if unwatched > ABANDONED_SECONDS:
        return Decision(Action.FORGET, "Nobody waited for it any more.")
    if build is not None and build.state in (BuildState.FAILED, BuildState.CANCELLED):
        return Decision(Action.FAIL)
    built = session.build_id is None or (build is not None and build.state is BuildState.BUILT)
    return Decision(Action.START) if built and unwatched <= UNWATCHED_SECONDS else _WAIT


def _ready(session: Session, seen: float | None, limits: SessionSettings, now: float) -> Decision:
    ready_at = session.ready_at or session.created_at
    max_age = session.allowance.max_age_seconds or limits.max_age_seconds
    idle = session.allowance.idle_seconds or limits.idle_seconds
    if now - ready_at > max_age:
        return Decision(Action.STOP, f"It reached the longest time a session may run, {_minutes(max_age)}.")
    last = max(filter(None, (session.active_at, seen)), default=None)
    if last is None:
        if now - ready_at > limits.unopened_seconds:
            return Decision(Action.STOP, f"Nobody opened it for {_minutes(limits.unopened_seconds)}.")
        return _WAIT
    if now - last > idle:
        return Decision(Action.STOP, f"It was not used for {_minutes(idle)}.")
    return _WAIT


def came_at(session: Session, builds: Mapping[str, Build]) -> float:
    """When a pending session got in line: as it was asked for, or when its build ended."""
    build = builds.get(session.build_id or "")
    return session.created_at if build is None or build.finished_at is None else build.finished_at


def _minutes(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:g} seconds"
    return f"{seconds / 60:g} minutes" if seconds < 7200 else f"{seconds / 3600:g} hours"
