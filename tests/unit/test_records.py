"""What the pages of records are made of, without their service."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import Response

from bindery.errors import SettingRefused
from bindery.settings import SiteSettings
from db.builds import Build, Step
from db.states import BuildState
from web import browser
from web.build_page import phases
from web.packages import Package, packages
from web.presentation import Presentation, markdown, presentation

BUILD = Build(
    "b", "i:t", "gh", "o/r/c", "https://example.org/o/r", "c", "", BuildState.QUEUED, 0, False, 0, None, None,
    None, None, None, None, 1.0, None, None,
)  # fmt: skip


def _build(state: BuildState, attempt: int = 1, finished_at: float | None = None) -> Build:
    return replace(BUILD, state=state, attempt=attempt, finished_at=finished_at)


def test_a_queued_build_has_only_waited() -> None:
    found = phases(_build(BuildState.QUEUED, 0), [Step(0, BuildState.QUEUED, 1.0)], 4.0)
    assert [(phase.state, phase.seconds) for phase in found] == [("active", 3.0), *[("todo", None)] * 4]


def test_each_phase_lasts_until_the_next() -> None:
    steps = [Step(0, BuildState.QUEUED, 1.0), *(Step(1, state, at) for state, at in (
        (BuildState.FETCHING, 2.0), (BuildState.PLANNING, 4.0), (BuildState.BUILDING, 5.0), (BuildState.FAILED, 9.0)
    ))]  # fmt: skip
    found = phases(_build(BuildState.FAILED, finished_at=9.0), steps, 100.0)
    assert [(phase.state, phase.seconds) for phase in found] == [
        ("done", 1.0), ("done", 2.0), ("done", 1.0), ("failed", 4.0), ("todo", None)
    ]  # fmt: skip


def test_only_the_last_attempt_counts() -> None:
    steps = [
        Step(0, BuildState.QUEUED, 1.0),
        Step(1, BuildState.FETCHING, 2.0),
        Step(1, BuildState.PLANNING, 3.0),
        Step(2, BuildState.FETCHING, 50.0),
    ]
    found = phases(_build(BuildState.FETCHING, 2), steps, 60.0)
    assert [(phase.state, phase.seconds) for phase in found][:3] == [("done", 49.0), ("active", 10.0), ("todo", None)]


def test_packages_by_who_installed_them() -> None:
    lock = "numpy==2.0.1\nlocal @ file:///x\napt git=1:2.39-1\njulia Example\npython-3.12.1-h1234_0\n-e .\n\n"
    assert packages(lock) == {
        "pip": [Package("numpy", "2.0.1"), Package("local", "file:///x")],
        "conda": [Package("python", "3.12.1")],
        "julia": [Package("Example")],
        "apt": [Package("git", "1:2.39-1")],
        "other": [Package("-e .")],
    }


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[x](javascript:alert(1))",
        "![x](https://example.org/x.png)",
    ],
)
def test_an_operator_s_message_runs_nothing(text: str) -> None:
    made = str(markdown(text))
    assert "<script" not in made
    assert "<img" not in made
    assert 'href="javascript' not in made


def test_a_message_may_have_links_and_emphasis() -> None:
    made = str(markdown("**Sunday** [more](https://example.org/)"))
    assert made.strip() == '<p><strong>Sunday</strong> <a href="https://example.org/" rel="noopener">more</a></p>'


def test_contacts_can_be_followed() -> None:
    assert Presentation(contact="a@example.org").contact_url == "mailto:a@example.org"
    assert Presentation(contact="https://example.org/").contact_url == "https://example.org/"
    assert Presentation(contact="javascript:x@y").contact_url == "mailto:javascript:x@y"
    assert Presentation(contact="room 5").contact_url == ""


def test_a_logo_has_to_be_a_picture(tmp_path: Path) -> None:
    picture = tmp_path / "logo.png"
    with pytest.raises(SettingRefused):
        presentation(SiteSettings(logo=picture))
    picture.write_bytes(b"x")
    assert presentation(SiteSettings(logo=picture)).logo is not None
    with pytest.raises(SettingRefused):
        presentation(SiteSettings(logo=tmp_path / "logo.txt"))


def _request(cookie: str = "") -> Request:
    headers = [(b"cookie", cookie.encode())] if cookie else []
    scope = {"type": "http", "method": "GET", "path": "/", "scheme": "https", "query_string": b"", "headers": headers}
    return Request({**scope, "server": ("example.org", 443)})


def test_a_browser_keeps_its_secret_and_no_session_gets_it() -> None:
    answer = browser.remember(_request(), Response(), "/base/")
    cookies = [value.decode() for name, value in answer.raw_headers if name == b"set-cookie"]
    assert [cookie.partition("Path=")[2].partition(";")[0] for cookie in cookies] == [
        "/base/v2", "/base/build", "/base/sessions"
    ]  # fmt: skip
    assert all("HttpOnly" in each and "SameSite=lax" in each and "Secure" in each for each in cookies)
    given = cookies[0].partition(";")[0]
    again = browser.remember(_request(given), Response(), "/")
    assert given in again.headers["set-cookie"]
    assert browser.browser_of(_request(given)) not in (None, given.partition("=")[2])
    assert browser.browser_of(_request(f"{browser.COOKIE}=<script>")) is None


def test_only_the_list_lets_a_session_be_stopped() -> None:
    secret = "s" * 32
    assert browser.proven(secret, "a", browser.proof(secret, "a"))
    assert not browser.proven(secret, "b", browser.proof(secret, "a"))
    assert not browser.proven("", "a", browser.proof("", "a"))
