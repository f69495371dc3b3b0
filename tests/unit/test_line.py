"""Who gets a place, who stands where, and what visitors read of it."""

from __future__ import annotations

import pytest

from db.line import Place, Room, Waiting, seat
from web.line import describe


def waiting(*names: str, most: int = 0) -> list[Waiting]:
    return [Waiting(name, name[0], most) for name in names]


def test_without_limits_nobody_waits() -> None:
    assert seat(waiting("a1", "b1"), {"a": 99}, Room()) == (("a1", "b1"), {})


def test_first_come_first_served() -> None:
    seated, places = seat(waiting("a1", "b1", "a2", "c1"), {"x": 3}, Room(5))
    assert seated == ("a1", "b1")
    assert places == {"a2": Place(1), "c1": Place(2)}


def test_a_full_service_seats_nobody() -> None:
    assert seat(waiting("a1"), {"x": 7}, Room(5)) == ((), {"a1": Place(1)})


def test_a_full_repository_holds_up_nobody_else() -> None:
    line = [*waiting("a1", "a2", most=1), *waiting("b1", "b2", most=5)]
    seated, places = seat(line, {"a": 1}, Room(2))
    assert seated == ("b1",)
    assert places == {"a1": Place(1, "a"), "a2": Place(2, "a"), "b2": Place(1)}


def test_seats_given_count_for_the_repository() -> None:
    assert seat(waiting("a1", "a2", most=1), {}, Room()) == (("a1",), {"a2": Place(1, "a")})


@pytest.mark.parametrize(
    ("estimate", "seconds", "words"),
    [(0.2, 5, "5 seconds"), (41, 45, "45 seconds"), (119, 120, "2 minutes"), (130, 180, "3 minutes")],
)
def test_estimates_are_as_exact_as_they_can_be_meant(estimate: float, seconds: int, words: str) -> None:
    event = describe(Place(3, "https://example.org/o/r", estimate))
    assert event.fields == {"position": 3, "ahead": 2, "estimate_seconds": seconds}
    assert event.message == (
        "All of this repository's places are taken. You are number 3 in line. "
        f"It should be your turn in about {words}.\n"
    )
