"""runtime.txt: which language, version and snapshot date a repository asks for."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass

from builder.reading import Reading, invalid

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_HINT = "Write one line such as python-3.12 or r-4.4-2025-06-01."


@dataclass(frozen=True)
class Runtime:
    """The parts of `name-version`, `name-version-yyyy-mm-dd` or `name-yyyy-mm-dd`; `path` is where they stand."""

    name: str = ""
    version: str = ""
    date: datetime.date | None = None
    path: str = ""


def read_runtime(reading: Reading, *, shapes: bool = False) -> Runtime:
    """Read runtime.txt; an empty `Runtime` when there is none."""
    path = reading.find("runtime.txt")
    return Runtime() if path is None else parse_runtime(reading.text(path, shapes=shapes), path)


def parse_runtime(text: str, path: str) -> Runtime:
    """Parse runtime.txt; raises `InvalidDependencyFile`."""
    words = text.strip()
    if not words:
        raise invalid(path, "is empty", hint=f"{_HINT} Or remove the file.")
    parts = words.split("-")
    if len(parts) not in (2, 4, 5) or not all(parts) or "\n" in words:
        raise invalid(path, "not of the form name-version or name-version-yyyy-mm-dd", line=1, text=words, hint=_HINT)
    version = parts[1] if len(parts) in (2, 5) else ""
    date = _date("-".join(parts[-3:]), path) if len(parts) > 2 else None
    return Runtime(parts[0], version, date, path)


def _date(text: str, path: str) -> datetime.date:
    try:
        if not _DATE.fullmatch(text):
            raise ValueError(text)
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise invalid(path, "not a date of the form yyyy-mm-dd", line=1, text=text, hint=_HINT) from None
