"""What strangers wrote is shown on a terminal as text, whatever it contains."""

from __future__ import annotations

import pytest
from rich.console import Console
from typer.testing import CliRunner

from bindery.cli import app
from bindery.settings_table import rows
from bindery.terminal import marked, plain


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a line\n", "a line\n"),
        ("\ttwo\twords", "\ttwo\twords"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[2J\x1b[9999;9999Hx", "x"),
        ("\x9b2Jx", "x"),
        ("\x1b]0;a title\x07text", "text"),
        ("\x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]0;without an end", ""),
        ("\x1bc\x1b(Bx", "x"),
        ("\x1b", ""),
        ("over\rwritten\x08\x00\x7f", "overwritten"),
        ("\u202eltr\u2066", "ltr"),
        ("Grüße, 世界 🎉", "Grüße, 世界 🎉"),
    ],
)
def test_only_text_is_left(text: str, shown: str) -> None:
    assert plain(text) == shown


@pytest.mark.parametrize("text", ["uvicorn[standard]==1", "[/red]", "[link=x]y[/link]", "a[", "a\\[b]"])
def test_brackets_stay_brackets(text: str) -> None:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(f"[red]Error:[/red] {marked(text)}", soft_wrap=True)
    assert captured.get() == f"Error: {text}\n"


def test_every_setting_is_printed_with_the_brackets_it_has() -> None:
    said = CliRunner().invoke(app, ["settings"], catch_exceptions=False).output
    for row in rows():
        assert row.variable in said
        assert row.description in said
