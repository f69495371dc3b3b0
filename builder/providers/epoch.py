"""Versions of records that have none: the second of their last change."""

from __future__ import annotations

from datetime import UTC, datetime

from bindery.errors import HostUnreachable


def epoch(text: str, host: str) -> int:
    """Seconds since 1970 of an ISO date; one without time zone is taken as UTC. Raises `HostUnreachable`."""
    try:
        moment = datetime.fromisoformat(text)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError, OSError) as error:
        raise HostUnreachable(f"{host} says that the record changed at {text[:60]!r}, which is no date.") from error


def changed(what: str) -> HostUnreachable:
    """The error for a record that changed while it was fetched."""
    return HostUnreachable(f"{what} changed while it was fetched.", hint="Launch it again.")
