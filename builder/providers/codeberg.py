"""Codeberg, or any other Gitea or Forgejo server: `owner/repository/ref`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bindery.settings import ProviderSettings
from builder.guard import GuardedClient
from builder.providers.forge import Forge


@dataclass(frozen=True)
class CodebergProvider(Forge):
    """Codeberg."""

    id: ClassVar[str] = "codeberg"
    title: ClassVar[str] = "Codeberg"
    commit_page: ClassVar[str] = "src/commit"


def provider(settings: ProviderSettings, client: GuardedClient) -> CodebergProvider:
    """The entry point."""
    return CodebergProvider(client, settings.codeberg.url, settings.resolve_timeout_seconds)
