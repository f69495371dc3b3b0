"""One event: what a visitor's stream shows as one JSON object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bindery.errors import BinderyError


@dataclass(frozen=True)
class Event:
    """A phase of the wire protocol, its text, and further fields of the JSON object.

    `phase` may be empty: a log line without one. `message` carries its own line end.
    """

    phase: str
    message: str
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """A recorded error: what a `BinderyError` says of itself."""

    code: str
    message: str
    hint: str
    retryable: bool

    @classmethod
    def of(cls, error: BinderyError) -> Failure:
        """Record an error."""
        return cls(error.code, error.message, error.hint, error.retryable)

    def event(self) -> Event:
        """The stream's terminal event."""
        extra = {"code": self.code, "hint": self.hint, "retryable": self.retryable}
        return Event("failed", self.message.rstrip("\n") + "\n", extra)
