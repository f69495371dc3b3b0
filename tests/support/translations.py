"""The catalogs of the pages, compared with what the pages say; `make messages` brings them up to date.

Whoever translates a language writes into `web/translations/<code>.po`; a new language begins as an empty file there.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract
from babel.messages.pofile import read_po, write_po

from tests.support.generated_docs import error_classes

ROOT = Path(__file__).parents[2]
TRANSLATIONS = ROOT / "web" / "translations"

_PYTHON = {"_": None, "gettext": None, "ngettext": (1, 2), "say": (1, 2), "N_": None}
_SCRIPTS = {"t": None, "tn": (1, 2)}
_KINDS = (
    ("web/*.py", "python", _PYTHON),
    ("web/templates/*.html", "jinja2.ext:babel_extract", _PYTHON),
    ("web/static/*.js", "javascript", _SCRIPTS),
)


def messages() -> Catalog:
    """Everything that the pages say."""
    found = Catalog(project="Bindery", charset="utf-8")
    for message, place in _messages():
        found.add(message, locations=[(place, 0)])
    return found


def _hints() -> Iterator[tuple[str, str]]:
    """What helps against each kind of error: written where no reader is known, told in every language."""
    for kind in error_classes():
        if kind.default_hint:
            yield kind.default_hint, "bindery/errors.py"


def _messages() -> Iterator[tuple[str | tuple[str, ...], str]]:
    yield from _hints()
    for pattern, method, keywords in _KINDS:
        for path in sorted(ROOT.glob(pattern)):
            place = path.relative_to(ROOT).as_posix()
            with path.open("rb") as file:
                for _, message, _, _ in extract(method, file, keywords, options={"trimmed": "true"}):
                    yield message, place


def stored(path: Path) -> Catalog:
    """The catalog of one language."""
    with path.open("rb") as file:
        return read_po(file, locale=path.stem)


def renewed(path: Path) -> bytes:
    """A language's catalog with what the pages say now: new messages are empty, stale ones are gone."""
    catalog = stored(path)
    catalog.update(messages(), no_fuzzy_matching=True)
    catalog.obsolete.clear()
    for message in catalog:
        message.locations = sorted({(place, 0) for place, _ in message.locations})
    made = io.BytesIO()
    write_po(made, catalog, include_lineno=False, omit_header=True, width=118, sort_output=True)
    return _header(catalog).encode() + made.getvalue()


def _header(catalog: Catalog) -> str:
    """A header that does not change with every day and version of the tools."""
    lines = (
        f"Language: {catalog.locale_identifier}",
        "Content-Type: text/plain; charset=utf-8",
        f"Plural-Forms: {catalog.plural_forms}",
    )
    return 'msgid ""\nmsgstr ""\n' + "".join(f'"{line}\\n"\n' for line in lines) + "\n"


def forms(said: str | Sequence[str] | None) -> tuple[str, ...]:
    """A message's text, or its translation: one form, or one for each plural."""
    return (said or "",) if isinstance(said, str | None) else tuple(said)


def untranslated(path: Path) -> list[str]:
    """Messages of a catalog that nobody has translated."""
    lacking = []
    for message in stored(path):
        if message.id and (message.fuzzy or not all(forms(message.string))):
            lacking.append(str(message.id))
    return lacking


if __name__ == "__main__":
    for path in sorted(TRANSLATIONS.glob("*.po")):
        path.write_bytes(renewed(path))
        print(f"{path.relative_to(ROOT)}: {len(untranslated(path))} messages to translate")
