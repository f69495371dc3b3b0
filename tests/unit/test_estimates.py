"""What the service promises about how long things take."""

from __future__ import annotations

from pathlib import Path

from db.durations import BuildDuration, DurationStore
from db.engine import Database
from web.estimates import Estimate, Estimates, estimate, forecast


def test_few_durations_promise_nothing() -> None:
    assert estimate([]) is None
    assert estimate([1.0, 2.0]) is None


def test_the_usual_range_leaves_the_extremes_out() -> None:
    assert estimate([3.0, 1.0, 2.0, 4.0, 5.0, 900.0]) == Estimate(2.0, 5.0, 6)
    assert estimate([-1.0, 2.0, 2.0]) == Estimate(0.8, 2.0, 3)


def test_builds_are_told_apart_by_what_they_do() -> None:
    builds = [
        *[BuildDuration("python", True, 1.0)] * 3,
        *[BuildDuration("python", False, 60.0)] * 3,
        *[BuildDuration("conda", False, 300.0)] * 3,
        BuildDuration("r", False, 900.0),
    ]
    found = forecast(builds, [0.5] * 10)
    assert found.start == Estimate(0.5, 0.5, 10)
    assert found.reused == Estimate(1.0, 1.0, 3)
    assert list(found.new_by_kind) == ["conda", "python"]
    assert found.new_by_kind["conda"].low == 300.0
    assert found.new is not None
    assert found.new.count == 7
    assert forecast([], []).to_dict() == {"start": None, "reused": None, "new": None, "new_by_kind": {}}


async def test_rows_are_read_once_for_many(tmp_path: Path) -> None:
    now = [0.0]
    read = []

    class Counted(DurationStore):
        async def starts(self) -> list[float]:
            read.append(now[0])
            return [1.0, 1.0, 1.0]

        async def builds(self) -> list[BuildDuration]:
            return []

    estimates = Estimates(Counted(Database(f"sqlite+aiosqlite:///{tmp_path}/x.db")), lambda: now[0])
    for moment in (0.0, 10.0, 29.0, 31.0):
        now[0] = moment
        assert (await estimates.forecast()).start == Estimate(1.0, 1.0, 3)
    assert read == [0.0, 31.0]
