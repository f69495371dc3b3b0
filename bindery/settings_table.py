"""The settings as a table: what the command line prints and the documentation shows."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from bindery.settings import Settings


@dataclass(frozen=True)
class Row:
    """One setting: its environment variable, its default as one would write it, and what it means."""

    variable: str
    default: str
    description: str


def rows(model: type[BaseModel] = Settings, prefix: str = "BINDERY_") -> Iterator[Row]:
    """Every setting, sections in their order."""
    for name, field in model.model_fields.items():
        variable = prefix + name.upper()
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            yield from rows(section, f"{variable}__")
        else:
            yield Row(variable, _written(field), field.description or "")


def unknown(variables: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Variables that look like settings and are none, each with the setting that may have been meant."""
    known = [row.variable for row in rows()]
    for name in sorted(variables):
        if (
            name.startswith("BINDERY_")
            and name not in known
            and not any(each.startswith(f"{name}__") for each in known)
        ):
            yield name, next(iter(difflib.get_close_matches(name, known, n=1)), "")


def markdown() -> str:
    """The table as the documentation has it."""
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    lines += [
        f"| `{row.variable}` | {f'`{row.default}`' if row.default else ''} | {row.description} |" for row in rows()
    ]
    return "\n".join(lines) + "\n"


def _written(field: FieldInfo) -> str:
    value: Any = field.get_default(call_default_factory=True)
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return json.dumps(value)
    return str(value.value if isinstance(value, Enum) else value) if not isinstance(value, Path) else value.as_posix()
