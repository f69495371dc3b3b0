"""A repository's files for a command, without a service."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from bindery.repository import read, spec
from bindery.settings import Settings
from bindery.wiring import guard, make_resolver, rows
from builder.fetch import read_tree
from builder.guard import GuardedClient
from builder.providers.base import Resolved
from builder.tree import Tree


@dataclass(frozen=True)
class Fetched:
    """A commit that is in the bare Git repository `folder`."""

    resolved: Resolved
    folder: Path
    commit: str
    tree: Tree


@contextlib.asynccontextmanager
async def fetched(repository: str, ref: str, settings: Settings) -> AsyncIterator[Fetched]:
    """What a person names, on this machine while the block runs. Raises the `BinderyError` that says why not."""
    with tempfile.TemporaryDirectory(prefix="bindery-") as folder:
        async with GuardedClient(guard(settings)) as client, rows(settings) as stored:
            resolver = make_resolver(settings, client, stored.database)
            displays = [provider.display for provider in resolver.providers.values()]
            target = read(repository, ref, "", displays)
            resolved = await resolver.resolve(target.provider, spec(target, displays), operator=True)
            bare = Path(folder) / "repository.git"
            source = resolver.providers[resolved.provider]
            commit = await source.fetch(resolved, bare, settings.fetch, lambda line: None)
        yield Fetched(resolved, bare, commit, await read_tree(bare, commit, settings.fetch))
