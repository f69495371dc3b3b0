"""What is decided about sessions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bindery.settings import SessionSettings
from db.line import Allowance
from db.seats import UNWATCHED_SECONDS
from db.sessions import Session
from db.states import BuildState, SessionState
from launcher.decisions import ABANDONED_SECONDS, Action, decide
from tests.support.builds import build

NOW = 100_000.0
SESSION = Session(
    id="i",
    name="n",
    token="",
    image="i:t",
    build_id=None,
    request={},
    launch_host="",
    repository="",
    allowance=Allowance(),
    launch_event=None,
    state=SessionState.PENDING,
    last_seq=0,
    address=None,
    stop_reason=None,
    error_code=None,
    error_message=None,
    error_hint=None,
    error_retryable=None,
    created_at=NOW,
    watched_at=NOW,
    started_at=None,
    ready_at=None,
    opened_at=None,
    active_at=None,
    finished_at=None,
)
LIMITS = SessionSettings(idle_seconds=100, max_age_seconds=1000, unopened_seconds=50)


def session(state: SessionState, **values: Any) -> Session:
    return replace(SESSION, state=state, **values)


@pytest.mark.parametrize(
    ("build_state", "unwatched", "action"),
    [
        (BuildState.QUEUED, 0, Action.WAIT),
        (BuildState.BUILDING, 0, Action.WAIT),
        (BuildState.BUILT, 0, Action.START),
        (BuildState.BUILT, UNWATCHED_SECONDS + 1, Action.WAIT),
        (BuildState.BUILT, ABANDONED_SECONDS + 1, Action.FORGET),
        (BuildState.FAILED, 0, Action.FAIL),
        (BuildState.FAILED, UNWATCHED_SECONDS + 1, Action.FAIL),
        (BuildState.CANCELLED, 0, Action.FAIL),
    ],
)
def test_a_pending_session_waits_for_its_build_and_its_visitor(
    build_state: BuildState, unwatched: float, action: Action
) -> None:
    row = session(SessionState.PENDING, build_id="b", watched_at=NOW - unwatched)
    assert decide(row, {"b": build(state=build_state)}, {}, LIMITS, NOW).action is action


def test_a_session_of_a_known_image_starts_at_once() -> None:
    assert decide(session(SessionState.PENDING), {}, {}, LIMITS, NOW).action is Action.START


@pytest.mark.parametrize(
    ("values", "seen", "action", "reason"),
    [
        ({"ready_at": NOW - 40}, None, Action.WAIT, ""),
        ({"ready_at": NOW - 51}, None, Action.STOP, "Nobody opened it for 50 seconds."),
        ({"ready_at": NOW - 500, "active_at": NOW - 99}, None, Action.WAIT, ""),
        ({"ready_at": NOW - 500, "active_at": NOW - 101}, None, Action.STOP, "It was not used for 100 seconds."),
        ({"ready_at": NOW - 500, "active_at": NOW - 101}, NOW - 1, Action.WAIT, ""),
        ({"ready_at": NOW - 51}, NOW - 1, Action.WAIT, ""),
        ({"ready_at": NOW - 1001, "active_at": NOW}, NOW, Action.STOP, "It reached the longest time"),
    ],
)
def test_a_ready_session_ends_when_idle_old_or_never_opened(
    values: dict[str, float], seen: float | None, action: Action, reason: str
) -> None:
    active = {} if seen is None else {"n": seen}
    decision = decide(session(SessionState.READY, **values), {}, active, LIMITS, NOW)
    assert decision.action is action
    assert decision.reason.startswith(reason)


def test_a_stop_that_was_interrupted_goes_on() -> None:
    assert decide(session(SessionState.STOPPING), {}, {}, LIMITS, NOW).action is Action.STOP


@pytest.mark.parametrize("state", [SessionState.STARTING, SessionState.STOPPED, SessionState.LOST, SessionState.FAILED])
def test_nothing_is_done_about_others(state: SessionState) -> None:
    assert decide(session(state), {}, {}, LIMITS, NOW).action is Action.WAIT
