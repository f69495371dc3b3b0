"""What making an environment needs to be able to do: by the process engine's installer, or inside of an image's build.

Standard library only, like everything that `builder.engines.inside` takes along into a build.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class Hands(Protocol):
    """Makes one environment, the `target`; relative paths in requirements start from `sources`.

    Whatever fails says so in the log and raises.
    """

    @property
    def target(self) -> Path: ...

    @property
    def sources(self) -> Path: ...

    async def say(self, line: str) -> None:
        """Tell the visitor something."""
        ...

    def write(self, name: str, text: str) -> Path:
        """Write a file of the build's own."""
        ...

    async def create(self) -> None:
        """Make the target an empty virtual environment."""
        ...

    async def resolve(
        self, inputs: Sequence[Path], *, constraints: Sequence[Path] = (), overrides: str = "", preferred: str = ""
    ) -> Path:
        """Decide every version that the inputs need; versions in `preferred` are taken where nothing speaks against."""
        ...

    async def install(self, *arguments: str | Path) -> None:
        """Run `uv pip install` for the target."""
        ...

    async def export(self, folder: Path, name: str) -> Path:
        """The uv.lock in `folder` as one that can be installed, without the project itself."""
        ...

    async def freeze(self) -> str:
        """What is installed in the target, one a line."""
        ...

    def settle_paths(self) -> None:
        """Let what names the place where the target is made name its final place instead."""
        ...

    async def compile_bytecode(self) -> None:
        """Compile the target's sources."""
        ...
