"""GitHub, or a GitHub Enterprise server: `owner/repository/ref`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from yarl import URL

from bindery.errors import InvalidSpec
from builder import git, refs
from builder.guard import GuardedClient
from builder.providers.base import ParsedSpec, Resolved

_NAME = re.compile(r"[A-Za-z0-9._-]+")
_DEFAULTS = ("main", "master", "HEAD")


@dataclass(frozen=True)
class GitHubProvider:
    """Resolves through the Git protocol: no API token, no API rate limit."""

    client: GuardedClient
    url: str
    timeout_seconds: float

    @property
    def display(self) -> Mapping[str, Any]:
        """See `Provider.display`."""
        host = re.escape(self.url.rstrip("/").partition("://")[2])
        return {
            "displayName": "GitHub",
            "id": "gh",
            "spec": {"validateRegex": r"[^/]+/[^/]+/.+"},
            "detect": {"regex": rf"^(https?://{host}/)?(?<repo>.*?)/?$"},
            "repo": {
                "label": "GitHub repository name or URL",
                "placeholder": "example: yuvipanda/requirements or https://github.com/yuvipanda/requirements",
                "urlEncode": False,
            },
            "ref": {"enabled": True, "default": "HEAD"},
        }

    def parse(self, spec: str) -> ParsedSpec:
        """Read `owner/repository/ref`; the ref may contain slashes."""
        parts = spec.split("/", 2)
        if len(parts) < 3 or not all(parts):
            raise InvalidSpec(_grammar(spec, parts), hint="A link looks like /v2/gh/owner/repository/HEAD.")
        owner, repository, ref = parts
        repository = repository.removesuffix(".git")
        if not all(_NAME.fullmatch(name) and name not in (".", "..") for name in (owner, repository)):
            raise InvalidSpec(
                f"{owner}/{repository} cannot be a GitHub repository.",
                hint="Names have letters, digits, '.', '_' and '-' only.",
            )
        url = f"{self.url.rstrip('/')}/{owner}/{repository}"
        return ParsedSpec("gh", spec, url, refs.check(ref), f"{owner}-{repository}")

    async def resolve(self, parsed: ParsedSpec) -> Resolved:
        """Find the commit. A `main` or `master` that is gone means the default branch, with a notice."""
        remote = await git.contact(self.client, parsed.repo_url)
        found = await refs.find(remote, parsed.ref, self.timeout_seconds)
        path = URL(parsed.repo_url).path.lstrip("/").split("/")[-2:]
        return Resolved(
            provider="gh",
            spec=f"{path[0]}/{path[1]}/{found.commit}",
            repo_url=parsed.repo_url,
            ref=found.commit,
            ref_url=f"{parsed.repo_url}/tree/{found.commit}",
            slug=parsed.slug,
            branch=found.name,
            notice=found.notice,
        )


def _grammar(spec: str, parts: list[str]) -> str:
    message = f'Spec is not of the form "user/repo/ref", provided: "{spec}".'
    if len(parts) == 2 and all(parts) and parts[1] not in _DEFAULTS:
        message += f' Did you mean "{parts[0]}/{parts[1]}/HEAD"?'
    return message
