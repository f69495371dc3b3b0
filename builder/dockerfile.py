"""Dockerfiles of our own: short, with literal values, and nothing of a repository in them that was not checked."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from bindery.errors import InternalError

#: Longest value that a Dockerfile's line can carry, with room for the rest: BuildKit refuses lines of 64 KiB.
MAX_VALUE = 48_000
_PATTERNS = {
    "image": re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,400}", re.ASCII),
    "package": re.compile(r"[a-z0-9][a-z0-9+.-]+(:[a-z0-9][a-z0-9-]*)?(=[A-Za-z0-9][A-Za-z0-9.+:~-]*)?", re.ASCII),
    "path": re.compile(r"[A-Za-z0-9_./@+-]{1,400}", re.ASCII),
    "place": re.compile(r"[A-Za-z0-9_./${}-]{1,400}", re.ASCII),
    "name": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}", re.ASCII),
}


def render(template: str, *, stage: str = "", **values: Any) -> str:
    """The Dockerfile of a template; a value that is missing is an error.

    With a name it is one stage of a longer Dockerfile, whose context has a folder of that name for it.
    """
    places = {"named": "", "here": "", "whole": ""}
    if stage:
        name = checked(stage, "name")
        places = {"named": f" AS {name}", "here": f"{name}/", "whole": f"source={name},"}
    return _TEMPLATES.get_template(template).render(**places, **values)


def checked(value: object, kind: str) -> str:
    """A value that stands bare in a Dockerfile; raises `InternalError` when it could mean anything else."""
    text = str(value)
    if not _PATTERNS[kind].fullmatch(text) or text.startswith("-"):
        raise InternalError(f"Not fit to stand in a Dockerfile as {kind}: {text[:80]!r}.")
    return text


def quoted(value: object) -> str:
    """A value of LABEL or ENV in quotes, whatever is in it; what no line can carry is replaced or cut."""
    text = "".join(char if char.isprintable() else " " for char in str(value))[:MAX_VALUE]
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    return f'"{escaped}"'


def shell_quoted(value: object) -> str:
    """A word of a shell line, whatever is in it; control characters are refused."""
    text = str(value)
    if not text.isprintable():
        raise InternalError(f"Not fit to stand in a Dockerfile: {text[:80]!r}.")
    return "'" + text.replace("'", "'\\''") + "'"


def _environment() -> Environment:
    found = Environment(  # noqa: S701
        loader=PackageLoader("builder"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters |= {
        "quoted": quoted,
        "word": shell_quoted,
        "exec_form": lambda words: json.dumps([str(word) for word in words]),
        **{kind: partial(checked, kind=kind) for kind in _PATTERNS},
    }
    return found


_TEMPLATES = _environment()
