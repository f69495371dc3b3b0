"""Environments that grow: where one has most of a new one's packages, the new one is built on it, not from nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from builder.plan import Plan
from builder.tree import Tree

#: An image has a limited number of layers, and each is one more to pull.
MAX_DEPTH = 3
_FILE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class Ground:
    """An environment that others can be built on: no code of anybody ran when it was made.

    `runtime` is what it was made on, `asked` the lines of the files that asked for it, `depth` how many environments
    are below it.
    """

    key: str
    runtime: str
    apt: tuple[str, ...]
    asked: tuple[str, ...]
    depth: int = 0

    def carries(self, other: Ground) -> bool:
        """Whether another environment may well have all that is in this one."""
        same = (self.runtime, self.apt) == (other.runtime, other.apt)
        return same and self.key != other.key and self.depth < MAX_DEPTH and set(self.asked) <= set(other.asked)


@dataclass(frozen=True)
class Grounds:
    """What is known of grounds, one file each in a folder; what was forgotten costs time, not more."""

    folder: Path

    def best(self, wanted: Ground) -> Ground | None:
        """The ground that promises the most for an environment."""
        return max((found for found in self._all() if found.carries(wanted)), key=_promise, default=None)

    def add(self, ground: Ground) -> None:
        """Remember a ground."""
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = self.folder / f"{ground.key}.draft"
        draft.write_text(json.dumps(asdict(ground)), encoding="utf-8")
        draft.replace(self.folder / f"{ground.key}.json")

    def drop(self, ground: Ground) -> None:
        """Forget a ground that is gone, or that nothing grows on any more: newer versions of its packages are out."""
        (self.folder / f"{ground.key}.json").unlink(missing_ok=True)

    def _all(self) -> Iterator[Ground]:
        for path in self.folder.glob("*.json"):
            with suppress(OSError, ValueError, TypeError, KeyError):
                fields = json.loads(path.read_text(encoding="utf-8"))
                yield Ground(**{**fields, "apt": tuple(fields["apt"]), "asked": tuple(fields["asked"])})


def wanted_ground(plan: Plan, tree: Tree, runtime: str) -> Ground:
    """The environment of a plan as a ground; its files' comments and empty lines say nothing."""
    lines: set[str] = set()
    for path in filter(tree.is_file, plan.files):
        text = tree.read(path, _FILE_BYTES).decode(errors="replace")
        lines |= {line.strip() for line in text.splitlines()}
    asked = (line for line in lines if line and not line.startswith("#"))
    return Ground(plan.environment_key, runtime, plan.apt, tuple(sorted(asked)))


def _promise(ground: Ground) -> tuple[int, str]:
    return len(ground.asked), ground.key
