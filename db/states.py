"""States of builds and sessions, and every transition there is, as data."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class BuildState(StrEnum):
    QUEUED = "queued"  #: nobody works on it yet
    FETCHING = "fetching"  #: the commit is being brought here
    PLANNING = "planning"  #: its dependency files are being read
    BUILDING = "building"  #: its environment is being found or built
    COMPOSING = "composing"  #: its content is being added
    BUILT = "built"  #: the image can be launched
    FAILED = "failed"  #: it ended with an error, which the row names
    CANCELLED = "cancelled"  #: somebody stopped it


class SessionState(StrEnum):
    PENDING = "pending"  #: waits for its build
    STARTING = "starting"  #: the server was asked for and does not answer yet
    READY = "ready"  #: the server answers
    STOPPING = "stopping"  #: the server is being ended
    STOPPED = "stopped"  #: ended as it should
    FAILED = "failed"  #: never became ready; the row says why
    LOST = "lost"  #: was ready and is gone without having been asked


class PreviewState(StrEnum):
    WANTED = "wanted"  #: nobody works on it yet
    PLANNING = "planning"  #: the commit is being fetched and its files are being read
    PLANNED = "planned"  #: the row has the plan
    FAILED = "failed"  #: there is no plan; the row says why


BUILD_TRANSITIONS: Mapping[BuildState, frozenset[BuildState]] = {
    BuildState.QUEUED: frozenset({BuildState.FETCHING, BuildState.FAILED, BuildState.CANCELLED}),
    BuildState.FETCHING: frozenset({BuildState.FETCHING, BuildState.PLANNING, BuildState.FAILED, BuildState.CANCELLED}),
    BuildState.PLANNING: frozenset({BuildState.FETCHING, BuildState.BUILDING, BuildState.FAILED, BuildState.CANCELLED}),
    BuildState.BUILDING: frozenset(
        {BuildState.FETCHING, BuildState.COMPOSING, BuildState.FAILED, BuildState.CANCELLED}
    ),
    BuildState.COMPOSING: frozenset({BuildState.FETCHING, BuildState.BUILT, BuildState.FAILED, BuildState.CANCELLED}),
    BuildState.BUILT: frozenset(),
    BuildState.FAILED: frozenset(),
    BuildState.CANCELLED: frozenset(),
}

SESSION_TRANSITIONS: Mapping[SessionState, frozenset[SessionState]] = {
    SessionState.PENDING: frozenset({SessionState.STARTING, SessionState.FAILED, SessionState.STOPPED}),
    SessionState.STARTING: frozenset({SessionState.READY, SessionState.FAILED, SessionState.STOPPING}),
    SessionState.READY: frozenset({SessionState.STOPPING, SessionState.LOST}),
    SessionState.STOPPING: frozenset({SessionState.STOPPED}),
    SessionState.STOPPED: frozenset(),
    SessionState.FAILED: frozenset(),
    SessionState.LOST: frozenset(),
}

PREVIEW_TRANSITIONS: Mapping[PreviewState, frozenset[PreviewState]] = {
    PreviewState.WANTED: frozenset({PreviewState.PLANNING}),
    PreviewState.PLANNING: frozenset({PreviewState.PLANNING, PreviewState.PLANNED, PreviewState.FAILED}),
    PreviewState.PLANNED: frozenset(),
    PreviewState.FAILED: frozenset(),
}

BUILD_ENDS = frozenset(state for state, following in BUILD_TRANSITIONS.items() if not following)
SESSION_ENDS = frozenset(state for state, following in SESSION_TRANSITIONS.items() if not following)
PREVIEW_ENDS = frozenset(state for state, following in PREVIEW_TRANSITIONS.items() if not following)


def build_sources(target: BuildState) -> frozenset[BuildState]:
    """The states from which a build may go to `target`."""
    return frozenset(state for state, following in BUILD_TRANSITIONS.items() if target in following)


def session_sources(target: SessionState) -> frozenset[SessionState]:
    """The states from which a session may go to `target`."""
    return frozenset(state for state, following in SESSION_TRANSITIONS.items() if target in following)
