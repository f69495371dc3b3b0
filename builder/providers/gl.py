"""GitLab: `<percent-encoded namespace>/<ref>`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from bindery.errors import InvalidSpec
from bindery.settings import ProviderSettings
from builder import refs
from builder.guard import GuardedClient
from builder.providers.base import ParsedSpec, Resolved
from builder.providers.forge import is_name
from builder.providers.over_git import OverGit, found


@dataclass(frozen=True)
class GitLabProvider(OverGit):
    """GitLab, whose projects may lie in groups of groups."""

    client: GuardedClient
    url: str
    timeout_seconds: float

    @property
    def display(self) -> Mapping[str, Any]:
        """See `Provider.display`."""
        host = self.url.rstrip("/").partition("://")[2]
        return {
            "displayName": "GitLab",
            "id": "gl",
            "spec": {"validateRegex": r"[^/]+/.+"},
            "detect": {"regex": rf"^(https?://{re.escape(host)}/)?(?<repo>.*?)/?$"},
            "repo": {
                "label": "GitLab repository name or URL",
                "placeholder": "example: https://gitlab.com/mosaik/examples/mosaik-tutorials-on-binder",
                "urlEncode": True,
            },
            "ref": {"enabled": True, "default": "HEAD"},
        }

    def parse(self, spec: str) -> ParsedSpec:
        """Read an encoded namespace and a ref."""
        encoded, _, ref = spec.partition("/")
        namespace = unquote(encoded).strip("/").removesuffix(".git")
        parts = namespace.split("/")
        if not ref or len(parts) < 2:
            raise InvalidSpec(
                f'Spec is not of the form "<url-encoded namespace>/<ref>", provided: "{spec}".',
                hint=f"Encode the project's full name and add a ref, such as {_example(parts)}/HEAD.",
            )
        if not all(is_name(part) for part in parts):
            raise InvalidSpec(
                f"{namespace} cannot be a GitLab project.",
                hint="Names have letters, digits, '.', '_' and '-' only.",
            )
        url = f"{self.url.rstrip('/')}/{namespace}.git"
        slug = "-".join(part.replace("-", "_-") for part in parts)
        return ParsedSpec("gl", spec, url, refs.check(unquote(ref)), slug)

    async def resolve(self, parsed: ParsedSpec) -> Resolved:
        """Find the commit. A `main` or `master` that is gone means the default branch, with a notice."""
        commit = await self.find(parsed)
        page = parsed.repo_url.removesuffix(".git")
        namespace = quote(page.removeprefix(self.url.rstrip("/") + "/"), safe="")
        return found(parsed, commit, f"{namespace}/{commit.commit}", f"{page}/tree/{commit.commit}")


def _example(parts: list[str]) -> str:
    return quote("/".join(parts), safe="") if len(parts) > 1 else "group%2Fproject"


def provider(settings: ProviderSettings, client: GuardedClient) -> GitLabProvider:
    """The entry point."""
    return GitLabProvider(client, settings.gl.url, settings.resolve_timeout_seconds)
