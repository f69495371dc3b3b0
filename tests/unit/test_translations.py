"""Every language says what the pages say now, all of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.translations import TRANSLATIONS, forms, renewed, stored, untranslated
from web import catalog
from web.languages import languages
from web.told import told

CATALOGS = sorted(TRANSLATIONS.glob("*.po"))
_PLACEHOLDER = re.compile(r"%\(\w+\)s|\{\w+\}")


@pytest.mark.parametrize("path", CATALOGS, ids=lambda path: path.stem)
class TestCatalogs:
    def test_it_has_what_the_pages_say_and_nothing_else(self, path: Path) -> None:
        assert path.read_text() == renewed(path).decode(), "run: make messages"

    def test_everything_is_translated(self, path: Path) -> None:
        assert untranslated(path) == []

    def test_translations_have_the_same_placeholders(self, path: Path) -> None:
        for message in stored(path):
            given = {name for text in forms(message.id) for name in _PLACEHOLDER.findall(text)}
            for form in forms(message.string):
                assert set(_PLACEHOLDER.findall(form)) <= given, message.id
            assert {name for form in forms(message.string) for name in _PLACEHOLDER.findall(form)} == given, message.id

    def test_the_service_reads_it_as_gettext_does(self, path: Path) -> None:
        ours = catalog.read(path.read_text())
        for message in stored(path):
            match forms(message.id):
                case [one, many]:
                    assert tuple(ours.ngettext(one, many, number) for number in (1, 2)) == forms(message.string)
                case [text] if text:
                    assert (ours.gettext(text),) == forms(message.string)


def test_there_is_a_language_beside_english() -> None:
    assert CATALOGS


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("It was ended by its visitor.", "Ihr Besucher hat sie beendet."),
        ("It was not used for 30 minutes.", "Sie wurde nicht benutzt, und zwar so lange: 30 Minuten."),
        ("Load the page again.", "Laden Sie die Seite neu."),
        ("numpy <b> is missing", '<span lang="en">numpy &lt;b&gt; is missing</span>'),
    ],
)
def test_what_rows_say_is_told_in_the_reader_s_language(text: str, said: str) -> None:
    assert told(text, languages()["de"]) == said


def test_english_is_told_as_it_is() -> None:
    assert told("numpy <b> is missing", languages()["en"]) == "numpy &lt;b&gt; is missing"
