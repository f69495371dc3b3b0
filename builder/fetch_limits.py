"""What all fetching has in common: how it tells of itself, and what is too large."""

from __future__ import annotations

from collections.abc import Callable

from bindery.errors import RepositoryTooLarge
from bindery.settings import MIB, FetchSettings

#: How often the size of a running download is told, in seconds.
TELL_SECONDS = 2.0

Tell = Callable[[str], None]


def too_large(limits: FetchSettings) -> RepositoryTooLarge:
    """The error for a repository over the limits."""
    return RepositoryTooLarge(
        f"The repository is over this service's limit of {limits.max_bytes // MIB} MiB or {limits.max_files} files.",
        hint="Keep large data elsewhere and download it in the notebook, or ask the operator to raise the limit.",
    )
