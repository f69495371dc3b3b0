"""Where environments are built: the Protocol of every engine."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bindery.settings import FetchSettings
from builder.fetch import read_tree
from builder.plan import Plan, PlanContext
from builder.tree import Tree
from db.events import Event


@dataclass
class Handover:
    """Whether a build that is stopped here goes on elsewhere: then what runs outside of this process is left alone."""

    wanted: bool = False


@dataclass(frozen=True)
class BuildJob:
    """One build as an engine sees it. `repository` is a bare Git repository on this machine that has `commit`.

    `told` says what of a log outside of this process the build's own log has already: its name, and a line's number.
    """

    build_id: str
    #: The image's reference, `name:tag`.
    image: str
    plan: Plan
    repository: Path
    commit: str
    repo_url: str
    ref_url: str
    told: Mapping[str, int] = field(default_factory=dict)
    handover: Handover = field(default_factory=Handover)
    #: The commit's listing, where it was read already.
    tree: Tree | None = None

    async def listing(self, limits: FetchSettings) -> Tree:
        """The commit's files. Raises what `read_tree` does."""
        return self.tree or await read_tree(self.repository, self.commit, limits)


@dataclass(frozen=True)
class EnvironmentInfo:
    """An environment that is ready for use. `created_at` is a Unix time, `lock` what was installed, one a line.

    `size_bytes` is 0 where that is not known.
    """

    key: str
    created_at: float
    lock: str
    joined: bool
    size_bytes: int = 0


#: Tells the ids of the builds that have not ended.
Running = Callable[[], Awaitable[Collection[str]]]


class EnvironmentBuilder(Protocol):
    """Makes environments and images.

    - `environment` and `image` are idempotent: what is there already is not made again.
    - They yield events as work goes on and raise `BinderyError` when it cannot be done; after an error or a kill at any
      moment nothing that looks finished is left.
    - When their generator is closed or its task cancelled, everything they started has ended, unless the job is handed
      over and runs where another worker finds it.
    """

    @property
    def context(self) -> PlanContext:
        """What plans for this engine depend on, with the Pythons that are there."""
        ...

    async def wider_context(self) -> PlanContext:
        """The same, with the Pythons that could be brought here too: finding those takes a moment at first."""
        ...

    def check(self, plan: Plan) -> tuple[str, ...]:
        """Refuse a plan that can never be built here; return further warnings for the visitor.

        Raises `EngineCannotServe` or `PythonUnavailable`.
        """
        ...

    async def find(self, key: str) -> EnvironmentInfo | None:
        """The finished environment of this key, if there is one."""
        ...

    def environment(self, job: BuildJob) -> AsyncGenerator[Event, None]:
        """Make sure that the environment of the job's plan is there."""
        ...

    def image(self, job: BuildJob) -> AsyncGenerator[Event, None]:
        """Add content and post-build steps; the image is there when the generator ends."""
        ...

    async def reap(self, running: Running) -> None:
        """Remove what builds other than those `running` left behind, processes included.

        `running` is asked for their ids after a look at what is there: a build that begins meanwhile loses nothing.
        """
        ...
