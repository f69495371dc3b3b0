"""The languages of the pages: English, and those that have a catalog in `translations/`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from starlette.requests import Request

from web import catalog
from web.catalog import Catalog

TRANSLATIONS = Path(__file__).parent / "translations"

#: Languages whose numbers have a comma before their fraction.
_COMMA = frozenset({"de"})
#: Longest header, and most languages in it, that are looked at.
_LONGEST, _MOST = 1000, 20


@dataclass(frozen=True)
class Language:
    """One language; `code` is what the `lang` attribute says."""

    code: str
    catalog: Catalog

    def gettext(self, message: str) -> str:
        """A message in this language."""
        return self.catalog.gettext(message)

    def ngettext(self, one: str, many: str, number: int) -> str:
        """A message about so many things in this language."""
        return self.catalog.ngettext(one, many, number)

    def script_texts(self) -> Mapping[str, list[str]]:
        """What the scripts say, by what they say in English."""
        return self.catalog.of_files(".js")

    def decimal(self, number: float, digits: int = 1) -> str:
        """A number with so many digits of its fraction."""
        text = f"{number:.{digits}f}"
        return text.replace(".", ",") if self.code in _COMMA else text


def N_(message: str) -> str:  # noqa: N802
    """Mark a message that is translated where it is shown."""
    return message


@cache
def languages() -> Mapping[str, Language]:
    """All languages by their code."""
    found = {path.stem: catalog.read(path.read_text(encoding="utf-8")) for path in sorted(TRANSLATIONS.glob("*.po"))}
    return {code: Language(code, each) for code, each in {"en": Catalog({}), **found}.items()}


def negotiated(accept_language: str) -> Language:
    """The language that an `Accept-Language` header (RFC 9110, 12.5.4) likes best of those there are; else English."""
    known = languages()
    wishes = [_wish(part) for part in accept_language[:_LONGEST].split(",")[:_MOST]]
    liked = sorted((wish for wish in wishes if wish[0] in known and wish[1] > 0), key=lambda wish: -wish[1])
    return known[liked[0][0] if liked else "en"]


def language_of(request: Request) -> Language:
    """The language of whoever sent a request."""
    return negotiated(request.headers.get("accept-language", ""))


def _wish(part: str) -> tuple[str, float]:
    """A language's code, without its country, and how much it is liked."""
    name, _, parameter = part.partition(";")
    quality = parameter.strip().removeprefix("q=")
    try:
        liked = float(quality) if quality else 1.0
    except ValueError:
        liked = 0.0
    return name.strip().lower().partition("-")[0], liked
