from __future__ import annotations

import pytest

from web import catalog
from web.languages import languages, negotiated
from web.wording import Wording

PO = r"""
msgid ""
msgstr ""
"Plural-Forms: nplurals=3; plural=(n==1 ? 0 : n%10>=2 && n%10<=4 ? 1 : 2);\n"

#. a comment
#: web/a.py web/static/b.js
msgid "a \"word\"\n"
"in two lines"
msgstr "ein \"Wort\"\n"
"in zwei Zeilen"

#: web/a.py
#, fuzzy
msgid "unsure"
msgstr "unsicher"

#: web/static/b.js
msgid "%(num)s file"
msgid_plural "%(num)s files"
msgstr[0] "eins"
msgstr[1] "wenige"
msgstr[2] "viele"

#~ msgid "old"
#~ msgstr "alt"
"""


def test_a_catalog_is_read_as_gettext_writes_it() -> None:
    read = catalog.read(PO)
    assert read.gettext('a "word"\nin two lines') == 'ein "Wort"\nin zwei Zeilen'
    assert read.gettext("unsure") == "unsure"
    assert read.gettext("old") == "old"
    assert read.gettext("") == ""
    assert [read.ngettext("%(num)s file", "%(num)s files", n) for n in (1, 3, 5)] == ["eins", "wenige", "viele"]
    assert [read.ngettext("x", "y", n) for n in (1, 2)] == ["x", "y"]


def test_scripts_get_their_own_texts() -> None:
    assert catalog.read(PO).of_files(".js") == {
        'a "word"\nin two lines': ['ein "Wort"\nin zwei Zeilen'],
        "%(num)s file": ["eins", "wenige", "viele"],
    }


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("", "en"),
        ("de", "de"),
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("en-GB,de;q=0.9", "en"),
        ("fr,de;q=0.5,en;q=0.4", "de"),
        ("fr", "en"),
        ("de;q=0,en", "en"),
        ("de;q=nonsense,en;q=0.1", "en"),
        ("*", "en"),
        (";;;,,,=", "en"),
        ("x," * 5000 + "de", "en"),
    ],
)
def test_the_reader_s_language_is_found(header: str, code: str) -> None:
    assert negotiated(header).code == code


def test_figures_are_said_as_people_say_them() -> None:
    say = Wording(languages()["en"])
    assert [say.duration(seconds) for seconds in (0, 0.01, 2.34, 12.6, 60, 3599, 7200, 7300, 200_000)] == [
        "0.0 s", "under 0.1 s", "2.3 s", "13 s", "1 min", "59 min 59 s", "2 h", "2 h 1 min", "2 days"
    ]  # fmt: skip
    assert [say.size(count) for count in (0, 999, 1500, 87_400_000, 3_210_000_000)] == [
        "0 B", "999 B", "1.5 kB", "87 MB", "3.2 GB"
    ]  # fmt: skip
    assert [say.ago(seconds) for seconds in (5, 60, 7200, 86400)] == [
        "just now", "1 minute ago", "2 hours ago", "1 day ago"
    ]  # fmt: skip
    assert [say.percent(share).replace("\xa0", " ") for share in (0, 0.5, 0.987, 0.9999, 1)] == [
        "0 %", "50 %", "98.7 %", "99.9 %", "100 %"
    ]  # fmt: skip
    assert Wording(languages()["de"]).duration(2.34) == "2,3 s"
