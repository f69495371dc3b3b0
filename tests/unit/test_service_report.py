from __future__ import annotations

import pytest

from db.launches import Outcome, Tally
from web.charts import HEIGHT, Series, nice, stacked_bars
from web.service_report import Outcomes, outcomes
from web.status_badge import Budget


@pytest.mark.parametrize(
    ("tally", "counted"),
    [
        (Tally(0, Outcome.READY, None, 2), Outcomes(ready=2)),
        (Tally(0, Outcome.LEFT, None, 1), Outcomes(left=1)),
        (Tally(0, Outcome.FAILED, "install_failed", 1), Outcomes(repository=1)),
        (Tally(0, Outcome.FAILED, "ref_not_found", 1), Outcomes(repository=1)),
        (Tally(0, Outcome.FAILED, "session_failed", 1), Outcomes(service=1)),
        (Tally(0, Outcome.FAILED, "no_longer_known", 1), Outcomes(service=1)),
        (Tally(0, Outcome.FAILED, "build_cancelled", 1), Outcomes(left=1)),
    ],
)
def test_each_launch_is_somebody_s(tally: Tally, counted: Outcomes) -> None:
    assert outcomes([tally]) == counted


def test_success_is_of_what_the_repository_let_us() -> None:
    assert Outcomes(ready=9, repository=5, service=1, left=7).success == 0.9
    assert Outcomes(repository=5).success is None


@pytest.mark.parametrize(
    ("most", "top"), [(0, 2), (1, 2), (2, 2), (3, 4), (7, 8), (9, 10), (11, 20), (41, 60), (990, 1000)]
)
def test_an_axis_ends_at_a_round_even_number(most: int, top: int) -> None:
    assert nice(most) == top


def test_bars_stand_on_each_other() -> None:
    chart = stacked_bars(["a", "b"], [Series("ready", "Ready", [3, 0]), Series("service", "Failed", [1, 0])])
    lower, upper = chart.slots[0].boxes
    assert lower.y + lower.height == HEIGHT
    assert upper.y + upper.height == lower.y
    assert upper.y == 0
    assert not chart.slots[1].boxes
    assert chart.total == 4


def test_a_budget_refills_as_time_passes() -> None:
    now = [0.0]
    budget = Budget(2, clock=lambda: now[0])
    assert [budget.spend() for _ in range(3)] == [True, True, False]
    now[0] = 30.0
    assert [budget.spend() for _ in range(2)] == [True, False]
    now[0] = 1000.0
    assert [budget.spend() for _ in range(3)] == [True, True, False]
