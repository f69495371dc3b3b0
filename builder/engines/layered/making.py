"""Who carries out Dockerfiles: the Protocol of a Docker Engine and of a cluster."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

NO_SPACE = re.compile(r"no space left on device|disk quota exceeded|os error 28\b", re.IGNORECASE)


class StepFailed(Exception):
    """A step of a build failed. `output` is the end of what its programs wrote, `words` what the builder says."""

    def __init__(self, output: str, words: str) -> None:
        super().__init__(words)
        self.output = output
        self.words = words


@dataclass(frozen=True)
class Image:
    """An image that is there. `created_at` is a Unix time; layers are shared, so sizes do not add up."""

    id: str
    tags: tuple[str, ...]
    labels: Mapping[str, str]
    created_at: float
    size_bytes: int
    architecture: str


@dataclass(frozen=True)
class Recipe:
    """One build: a Dockerfile for a context. `secrets` are files that steps may read and that stay in no image.

    `reads` are files of the finished image that whoever builds wants to know. Builds with the same `cache` may share
    steps with each other through the registry, where the maker has one; with "" no step of an earlier build is taken.
    """

    dockerfile: Path
    context: Path
    tag: str
    secrets: Mapping[str, Path] = field(default_factory=dict)
    build_args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    reads: tuple[str, ...] = ()
    headings: bool = False
    cache: str = ""


class ImageMaker(Protocol):
    """Makes images and keeps them. Everything raises `ToolMissing` or another `BinderyError` when it does not answer.

    - An image has its name when it is finished, in one step.
    - What is there is not made again by `build`'s caller: who builds looks with `image` first.
    """

    def name(self, repository: str, tag: str) -> str:
        """The full name of an image of ours, as a Dockerfile can name it."""
        ...

    async def image(self, name: str) -> Image | None:
        """What is known of an image, if it is there."""
        ...

    async def bring(self, name: str) -> Image:
        """An image of somebody else, brought to where builds can use it; raises `ToolMissing` with the reason."""
        ...

    async def read_file(self, name: str, path: str) -> bytes | None:
        """A file's content; links are followed. None when it is not there."""
        ...

    async def build(
        self,
        recipe: Recipe,
        on_line: Callable[[str], Awaitable[None]],
        *,
        timeout_seconds: float,
        marks: Mapping[str, str] | None = None,
    ) -> Mapping[str, bytes]:
        """Build an image; returns those of the recipe's `reads` that it has. Cancelling ends the build.

        Raises `StepFailed`, `DiskFull`, `BuildTimedOut`.
        """
        ...

    async def label(self, image: str, name: str, labels: Mapping[str, str]) -> None:
        """Give an image further labels under another name."""
        ...

    async def untag(self, *names: str) -> None:
        """Take names away; images without any other name go with them. One that is not there is no error."""
        ...
