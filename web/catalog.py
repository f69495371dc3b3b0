"""Catalogs of translations (.po, as GNU gettext writes them), read when the service starts."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from gettext import c2py

_LINE = re.compile(r'(?:(?P<key>msgctxt|msgid_plural|msgid|msgstr(?:\[(?P<form>\d+)\])?) *)?(?P<text>".*")')
_PLURAL = re.compile(r"plural=(?P<rule>[^;\n]+)")


@dataclass
class Entry:
    """One message. `places` are the files it stands in, `forms` its translations: one, or one for each plural."""

    message: str = ""
    plural: str = ""
    forms: dict[int, str] = field(default_factory=dict)
    places: tuple[str, ...] = ()
    fuzzy: bool = False

    @property
    def translated(self) -> bool:
        """Whether it says something in the other language that somebody has read."""
        return not self.fuzzy and bool(self.forms) and all(self.forms.values())


class Catalog:
    """The translations of one language; what is not translated stays as it is."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self._entries = entries
        header = entries[""].forms[0] if "" in entries else ""
        rule = _PLURAL.search(header)
        self._plural = c2py(rule["rule"] if rule else "n != 1")

    def gettext(self, message: str) -> str:
        """The translation of a message."""
        return self._form(message, 0) or message

    def ngettext(self, one: str, many: str, number: int) -> str:
        """The translation that fits the number."""
        return self._form(one, self._plural(number)) or (one if number == 1 else many)

    def of_files(self, ending: str) -> dict[str, list[str]]:
        """All forms of the messages that stand in files whose names end so, by message."""
        return {
            entry.message: [entry.forms[form] for form in sorted(entry.forms)]
            for entry in self._entries.values()
            if entry.translated and any(place.endswith(ending) for place in entry.places)
        }

    def _form(self, message: str, form: int) -> str:
        entry = self._entries.get(message)
        return entry.forms.get(form, "") if message and entry is not None and entry.translated else ""


def read(text: str) -> Catalog:
    """The catalog that a .po file holds."""
    return Catalog({entry.message: entry for entry in entries(text)})


def entries(text: str) -> Iterator[Entry]:
    """All entries of a .po file that are in use, the header first; obsolete ones (`#~`) are left out."""
    for block in re.split(r"\n\s*\n", text.strip()):
        entry = _entry(block)
        if entry is not None:
            yield entry


def _entry(block: str) -> Entry | None:
    entry, key, form, begun = Entry(), "", 0, False
    for line in block.splitlines():
        if line.startswith("#,"):
            entry.fuzzy = "fuzzy" in line
        elif line.startswith("#:"):
            entry.places += tuple(line[2:].split())
        elif found := _LINE.fullmatch(line.strip()):
            begun = True
            if found["key"]:
                key, form = found["key"].partition("[")[0], int(found["form"] or 0)
            _add(entry, key, form, ast.literal_eval(found["text"]))
    return entry if begun else None


def _add(entry: Entry, key: str, form: int, text: str) -> None:
    if key == "msgid":
        entry.message += text
    elif key == "msgid_plural":
        entry.plural += text
    elif key == "msgstr":
        entry.forms[form] = entry.forms.get(form, "") + text
