"""Origins, as a setting names them and as browsers send them."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator
from pydantic_settings import NoDecode

ANY = "*"
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?/?")
_USUAL_PORTS = {"http": "80", "https": "443"}


def origin(text: str) -> str:
    """An origin as browsers send it: in small letters, without its usual port. Raises `ValueError` unless it is one."""
    found = _ORIGIN.fullmatch(text.strip().lower())
    if found is None:
        raise ValueError(f"{text!r} is no origin: write scheme and host, in ASCII, as in https://journal.example.org")
    scheme, host, port = found.groups()
    return f"{scheme}://{host}" if port in (None, _USUAL_PORTS.get(scheme)) else f"{scheme}://{host}:{port}"


def _listed(value: Any) -> Any:
    """One origin is written as it is, several as a JSON list."""
    if not isinstance(value, str):
        return value
    if not value.lstrip().startswith("["):
        return [value] if value else []
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError(f"{value!r} is no JSON list") from None


def _checked(origins: tuple[str, ...]) -> tuple[str, ...]:
    if ANY not in origins:
        return tuple(dict.fromkeys(map(origin, origins)))
    if len(origins) > 1:
        raise ValueError(f"{ANY} is any origin, and stands alone")
    return origins


#: Origins that a setting lists, or `*`.
Origins = Annotated[
    tuple[str, ...],
    NoDecode,
    BeforeValidator(_listed, json_schema_input_type=str | tuple[str, ...]),
    AfterValidator(_checked),
]
