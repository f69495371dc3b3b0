"""Providers: the places where repositories live, one module each."""

from __future__ import annotations

from bindery.errors import UnknownProvider
from bindery.settings import ProviderSettings
from builder.guard import GuardedClient
from builder.providers.base import Provider
from builder.providers.gh import GitHubProvider
from builder.providers.git import GitProvider


def providers(settings: ProviderSettings, client: GuardedClient) -> dict[str, Provider]:
    """Every provider by its link prefix, in the order in which forms show them."""
    timeout = settings.resolve_timeout_seconds
    return {
        "gh": GitHubProvider(client, settings.gh.url, timeout),
        "git": GitProvider(client, settings.git.allowed_protocols, timeout),
    }


def provider(known: dict[str, Provider], name: str) -> Provider:
    """The provider of a link's prefix; raises `UnknownProvider`."""
    if name not in known:
        raise UnknownProvider(
            f"No provider found for prefix {name}", hint=f"Links begin with one of: {', '.join(known)}."
        )
    return known[name]
