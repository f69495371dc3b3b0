"""The documentation says what is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bindery.cli import app
from tests.support.generated_docs import error_classes, pages

ROOT = Path(__file__).parents[2]


def test_generated_parts_are_fresh() -> None:
    stale = [path.name for path, content in pages().items() if path.read_text() != content]
    assert stale == [], "run: make docs"


def test_error_codes_are_unique() -> None:
    codes = [kind.code for kind in error_classes()]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").glob("*.md")), ids=lambda p: p.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?://)([^)#]+)[^)]*\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_readme_names_every_command() -> None:
    readme = (ROOT / "README.md").read_text()
    for command in app.registered_commands:
        name = command.name or getattr(command.callback, "__name__", "")
        assert f"bindery {name}" in readme or f"make {name}" in readme
