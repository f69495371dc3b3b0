"""Who carries out a Dockerfile in a build's Job: the Protocol of Buildah, BuildKit and a Docker Engine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from builder.job.cache import Turn
from builder.job.order import Order

Say = Callable[[str], Awaitable[None]]


class PushFailed(Exception):
    """An image could not be pushed, for the reason that this says."""


@dataclass(frozen=True)
class Site:
    """A Job's place: `work` is its own folder, `context` and `dockerfile` the unpacked archive.

    `secrets` are files for steps; `logins` is the folder of a Docker config.json; `environment` is for programs; `turn`
    is the use of a folder that outlasts the Job, if there is one.
    """

    work: Path
    context: Path
    dockerfile: Path
    secrets: Mapping[str, Path]
    logins: Path
    environment: Mapping[str, str]
    turn: Turn | None = None


class BackEnd(Protocol):
    """Carries out orders.

    - `build` and `push` raise `StepFailed`, `PushFailed` or a `BinderyError`.
    - When its task is cancelled, everything it started has ended.
    """

    async def build(self, order: Order, site: Site, say: Say) -> None:
        """Carry out the Dockerfile."""
        ...

    async def read(self, order: Order, site: Site, path: str) -> bytes | None:
        """A file of what was built; None when it is not there."""
        ...

    async def push(self, order: Order, site: Site, say: Say) -> None:
        """Bring what was built into the registry, its name last."""
        ...
