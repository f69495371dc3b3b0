"""Bitbucket: `workspace/repository/ref`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bindery.settings import ProviderSettings
from builder.guard import GuardedClient
from builder.providers.forge import Forge


@dataclass(frozen=True)
class BitbucketProvider(Forge):
    """Bitbucket."""

    id: ClassVar[str] = "bitbucket"
    title: ClassVar[str] = "Bitbucket"
    commit_page: ClassVar[str] = "src"


def provider(settings: ProviderSettings, client: GuardedClient) -> BitbucketProvider:
    """The entry point."""
    return BitbucketProvider(client, settings.bitbucket.url, settings.resolve_timeout_seconds)
