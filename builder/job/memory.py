"""Whether the kernel ended something of this container because its memory was used up."""

from __future__ import annotations

import contextlib
from pathlib import Path

#: Where a container sees its own control group: version 2, version 1.
_PLACES = (Path("/sys/fs/cgroup/memory.events"), Path("/sys/fs/cgroup/memory/memory.oom_control"))
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_NO_LIMIT = 1 << 60


def kills(places: tuple[Path, ...] = _PLACES) -> int:
    """How often that happened so far."""
    for place in places:
        with contextlib.suppress(OSError, ValueError):
            facts = dict(line.split() for line in place.read_text(encoding="ascii").splitlines())
            return int(facts.get("oom_kill", 0))
    return 0


def limit(places: tuple[Path, ...] = _LIMITS) -> int | None:
    """The container's limit in bytes, if there is one."""
    for place in places:
        with contextlib.suppress(OSError, ValueError):
            found = int(place.read_text(encoding="ascii"))
            return found if found < _NO_LIMIT else None
    return None
