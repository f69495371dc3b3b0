"""GitHub, or a GitHub Enterprise server: `owner/repository/ref`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from bindery.settings import ProviderSettings
from builder.guard import GuardedClient
from builder.providers.forge import Forge


@dataclass(frozen=True)
class GitHubProvider(Forge):
    """GitHub."""

    id: ClassVar[str] = "gh"
    title: ClassVar[str] = "GitHub"

    @property
    def display(self) -> Mapping[str, Any]:
        """See `Provider.display`."""
        example = "example: yuvipanda/requirements or https://github.com/yuvipanda/requirements"
        known = super().display
        return {**known, "repo": {**known["repo"], "placeholder": example}}


def provider(settings: ProviderSettings, client: GuardedClient) -> GitHubProvider:
    """The entry point."""
    return GitHubProvider(client, settings.gh.url, settings.resolve_timeout_seconds)
