"""Why a server ended, in words for its visitor."""

from __future__ import annotations

from bindery.errors import SessionFailed
from bindery.settings import MIB

#: The exit code of a process that was killed: 128 + SIGKILL.
KILLED = 137


def too_much_memory(limit_bytes: int) -> SessionFailed:
    """The server was killed because it reached its limit."""
    return SessionFailed(
        f"The session used more than its {limit_bytes // MIB} MiB of memory, so it was ended.",
        hint="Launch again, and work with less data at a time.",
    )


def ended_with(code: int) -> SessionFailed:
    """The server ended by itself, or was killed."""
    return SessionFailed(f"The notebook server ended with exit code {code}.", hint="The log shows its last words.")
