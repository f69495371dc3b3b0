"""What the operator's rules let through, and what each repository may take."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from bindery.errors import SpecNotAllowed, UnderMaintenance
from bindery.settings import LimitSettings
from launcher.rules import Rules


def rules(**settings: Any) -> Rules:
    return Rules(LimitSettings.model_validate(settings))


@pytest.mark.parametrize(
    ("settings", "provider", "spec", "allowed"),
    [
        ({}, "gh", "o/r/main", True),
        ({"banned": {"gh": ["^evil/"]}}, "gh", "evil/r/main", False),
        ({"banned": {"gh": ["^evil/"]}}, "gh", "EVIL/r/main", False),
        ({"banned": {"gh": ["^evil/"]}}, "gh", "%65vil/r/main", False),
        ({"banned": {"gh": ["evil/"]}}, "gh", "not-evil/r/main", True),
        ({"banned": {"gh": ["^evil/"]}}, "gl", "evil%2Fr/main", True),
        ({"banned": {"gl": ["^evil/"]}}, "gl", "evil%2Fr/main", False),
        ({"allowed": {"gh": ["^good/"]}}, "gh", "good/r/main", True),
        ({"allowed": {"gh": ["^good/"]}}, "gh", "other/r/main", False),
        ({"allowed": {"gh": ["^good/"]}}, "gl", "other%2Fr/main", True),
        ({"allowed": {"gh": ["^good/"]}, "banned": {"gh": ["good/bad"]}}, "gh", "good/bad/main", False),
        ({"allowed": {"git": ["https%3A%2F%2Fx.org%2Fa"]}}, "git", "https%3A%2F%2Fx.org%2Fa%2Fb/main", True),
        ({"allowed": {"git": ["https://x.org/a/"]}}, "git", "https%3A%2F%2Fx.org%2Fa%2F..%2Fb/main", False),
        ({"allowed": {"git": ["https://x.org/a/"]}}, "git", "https%3A%2F%2Fx.org%2Fa%2F%252e%252e%2Fb/main", False),
    ],
)
def test_bans_win_and_lists_are_per_provider(settings: Any, provider: str, spec: str, allowed: bool) -> None:
    asked = rules(**settings)
    assert (asked.refusal(provider, spec) is None) is allowed
    if not allowed:
        with pytest.raises(SpecNotAllowed, match=r"^Sorry, .* is not allowed to launch\. Please contact"):
            asked.check(provider, spec)


def test_a_ban_holds_for_every_way_to_write_a_repository() -> None:
    asked = rules(banned={"gh": ["^evil/r/"], "*": ["https://github.com/evil/"]})
    asked.check("gh", "evil/r.git/main")
    with pytest.raises(SpecNotAllowed):
        asked.check("gh", "evil/r.git/main", "evil/r/0123")
    with pytest.raises(SpecNotAllowed):
        asked.check_address("https%3A%2F%2Fgithub.com%2FEvil%2Fr/main", "https://github.com/Evil/r")


def test_later_rules_win() -> None:
    asked = rules(
        per_repository=10,
        repositories=[
            {"pattern": "^course/", "sessions": 200, "memory_bytes": 1 << 30},
            {"pattern": "^course/big/", "provider": "gh", "memory_bytes": 4 << 30, "idle_seconds": 60},
            {"pattern": "^course/open/", "sessions": 0},
        ],
    )
    assert asked.allowance("gh", "o/r/main").sessions == 10
    assert asked.allowance("gh", "Course/small/main").sessions == 200
    big = asked.allowance("gh", "course/big/main")
    assert (big.sessions, big.memory_bytes, big.idle_seconds, big.cpus) == (200, 4 << 30, 60, None)
    assert asked.allowance("gl", "course%2Fbig/main").memory_bytes == 1 << 30
    assert asked.allowance("gh", "course/open/main").sessions == 0


def test_maintenance_says_the_operators_sentence() -> None:
    with pytest.raises(UnderMaintenance, match=r"^We are back at six\.$"):
        rules(maintenance="We are back at six.").check_open()


@pytest.mark.parametrize(
    "settings",
    [
        {"banned": {"gh": ["("]}},
        {"repositories": [{"pattern": "["}]},
        {"repositories": [{"pattern": "x", "memroy": 1}]},
        {"banned_networks": {"10.0.0.1/8": "them"}},
    ],
)
def test_a_wrong_setting_is_told_at_once(settings: Any) -> None:
    with pytest.raises(ValidationError):
        rules(**settings)
