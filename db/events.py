"""One event: what a visitor's stream shows as one JSON object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Event:
    """A phase of the wire protocol, its text, and further fields of the JSON object.

    `phase` may be empty: a log line without one. `message` carries its own line end.
    """

    phase: str
    message: str
    fields: Mapping[str, Any] = field(default_factory=dict)
