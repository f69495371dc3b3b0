"""Origins in the settings, and what answers say of them."""

from __future__ import annotations

import re

import pytest
from pydantic import ValidationError
from starlette.requests import Request

from bindery.settings import Settings
from launcher.jupyter import networked_arguments
from web.cross_origin import CrossOrigin

JOURNAL, LAB = "https://journal.example.org", "http://lab.example.org:8080"


def allowed(written: str, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    monkeypatch.setenv("BINDERY_CORS_ALLOW_ORIGIN", written)
    return Settings().cors_allow_origin


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("", ()),
        ("[]", ()),
        ("*", ("*",)),
        ('["*"]', ("*",)),
        (JOURNAL, (JOURNAL,)),
        (f'["{JOURNAL}"]', (JOURNAL,)),
        (f' ["{JOURNAL}", "{LAB}", "{JOURNAL}/"]', (JOURNAL, LAB)),
        ("https://journal.example.org/", (JOURNAL,)),
        ("HTTPS://Journal.Example.ORG:443", (JOURNAL,)),
        ("http://lab.example.org:80", ("http://lab.example.org",)),
        ("http://lab.example.org:443", ("http://lab.example.org:443",)),
        ("http://[::1]:3000", ("http://[::1]:3000",)),
        ("vscode-webview://1a2b", ("vscode-webview://1a2b",)),
    ],
)
def test_are_taken_as_browsers_send_them(monkeypatch: pytest.MonkeyPatch, written: str, meant: tuple[str, ...]) -> None:
    assert allowed(written, monkeypatch) == meant


@pytest.mark.parametrize(
    "written",
    [
        "null",
        "journal.example.org",
        "https://",
        "https://journal.example.org/articles",
        "https://journal.example.org?",
        "https://journal.example.org:",
        "https://journal.example.org:https",
        "https://me:secret@journal.example.org",
        "https://*.example.org",
        "https://b\u00fccher.example",
        f"{JOURNAL}, {LAB}",
        f"{JOURNAL} {LAB}",
        f'["{JOURNAL}", "null"]',
        f'["*", "{JOURNAL}"]',
        f"[{JOURNAL}]",
        "[1]",
    ],
)
def test_of_which_one_is_none_are_refused(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    with pytest.raises(ValidationError, match="cors_allow_origin"):
        allowed(written, monkeypatch)


def headers(allow: tuple[str, ...], origin: str | None) -> dict[str, str]:
    sent = [] if origin is None else [(b"origin", origin.encode())]
    told = CrossOrigin(allow).headers(Request({"type": "http", "headers": sent}))
    return {name: told[name] for name in ("access-control-allow-origin", "vary") if name in told}


class TestAnswers:
    @pytest.mark.parametrize("origin", [None, "null", JOURNAL, "https://evil.example"])
    @pytest.mark.parametrize("one", ["*", JOURNAL])
    def test_are_alike_where_one_origin_or_any_is_named(self, one: str, origin: str | None) -> None:
        assert headers((one,), origin) == {"access-control-allow-origin": one}

    @pytest.mark.parametrize("origin", [JOURNAL, LAB])
    def test_name_the_one_of_several_that_asks(self, origin: str) -> None:
        assert headers((JOURNAL, LAB), origin) == {"access-control-allow-origin": origin, "vary": "Origin"}

    @pytest.mark.parametrize(
        "origin",
        [
            *(None, "", "null", "*", "https://evil.example", "http://journal.example.org", f"{JOURNAL}:8443"),
            *(f"{JOURNAL}/", f"{JOURNAL}.evil.example", JOURNAL.upper(), f"{JOURNAL} {LAB}", "http://lab.example.org"),
        ],
    )
    def test_never_name_an_origin_that_is_not_among_several(self, origin: str | None) -> None:
        assert headers((JOURNAL, LAB), origin) == {"vary": "Origin"}

    def test_name_nobody_where_nobody_is_allowed(self) -> None:
        assert headers((), JOURNAL) == {}


class TestServers:
    def pattern(self, *origins: str) -> re.Pattern[str]:
        flags = networked_arguments(port=1, base_url="/", allow_origins=origins)
        (flag,) = (flag for flag in flags if "allow_origin" in flag)
        return re.compile(flag.removeprefix("--ServerApp.allow_origin_pat="))

    @pytest.mark.parametrize("one", ["*", JOURNAL])
    def test_are_told_of_one_origin_by_name(self, one: str) -> None:
        flags = networked_arguments(port=1, base_url="/", allow_origins=[one])
        assert f"--ServerApp.allow_origin={one}" in flags

    def test_let_each_of_several_in_and_nobody_else(self) -> None:
        allowed = self.pattern(JOURNAL, LAB)
        assert allowed.match(JOURNAL)
        assert allowed.match(LAB)
        for other in (f"{JOURNAL}.evil.example", f"x{JOURNAL}", "https://journalxexample.org", f"{LAB}0", "null"):
            assert not allowed.match(other)
