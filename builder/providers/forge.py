"""Forges: hosts whose repositories are called `owner/name` and can be cloned from `<host>/owner/name`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import unquote

from yarl import URL

from bindery.errors import InvalidSpec
from builder import refs
from builder.guard import GuardedClient
from builder.providers.base import ParsedSpec, Resolved
from builder.providers.over_git import OverGit, found

NAME = re.compile(r"[A-Za-z0-9._-]+")
DEFAULTS = ("main", "master", "HEAD")


@dataclass(frozen=True)
class Forge(OverGit):
    """Specs are `owner/name/ref`; what differs between forges are names and where they show a commit."""

    client: GuardedClient
    url: str
    timeout_seconds: float

    id: ClassVar[str]
    title: ClassVar[str]
    #: Between a repository's address and a commit's id, in the address of the page that shows it.
    commit_page: ClassVar[str] = "tree"

    @property
    def base(self) -> str:
        """The host's address without a slash at its end."""
        return self.url.rstrip("/")

    @property
    def display(self) -> Mapping[str, Any]:
        """See `Provider.display`."""
        host = self.base.partition("://")[2]
        return {
            "displayName": self.title,
            "id": self.id,
            "spec": {"validateRegex": r"[^/]+/[^/]+/.+"},
            "detect": {"regex": rf"^(https?://{re.escape(host)}/)?(?<repo>.*?)/?$"},
            "repo": {
                "label": f"{self.title} repository name or URL",
                "placeholder": f"example: owner/repository or https://{host}/owner/repository",
                "urlEncode": False,
            },
            "ref": {"enabled": True, "default": "HEAD"},
        }

    def parse(self, spec: str) -> ParsedSpec:
        """Read `owner/name/ref`; the ref may contain slashes."""
        parts = spec.split("/", 2)
        if len(parts) < 3 or not all(parts):
            raise InvalidSpec(_grammar(spec, parts), hint=f"A link looks like /v2/{self.id}/owner/repository/HEAD.")
        owner, repository, ref = parts
        repository = repository.removesuffix(".git")
        if not all(is_name(name) for name in (owner, repository)):
            raise InvalidSpec(
                f"{owner}/{repository} cannot be a {self.title} repository.",
                hint="Names have letters, digits, '.', '_' and '-' only.",
            )
        url = f"{self.base}/{owner}/{repository}"
        return ParsedSpec(self.id, spec, url, refs.check(unquote(ref)), f"{owner}-{repository}")

    async def resolve(self, parsed: ParsedSpec) -> Resolved:
        """Find the commit. A `main` or `master` that is gone means the default branch, with a notice."""
        commit = await self.find(parsed)
        owner, name = URL(parsed.repo_url).path.lstrip("/").split("/")[-2:]
        spec = f"{owner}/{name}/{commit.commit}"
        return found(parsed, commit, spec, f"{parsed.repo_url}/{self.commit_page}/{commit.commit}")


def is_name(text: str) -> bool:
    """Whether an owner or a repository can be called so."""
    return NAME.fullmatch(text) is not None and text not in (".", "..")


def _grammar(spec: str, parts: list[str]) -> str:
    message = f'Spec is not of the form "user/repo/ref", provided: "{spec}".'
    if len(parts) == 2 and all(parts) and parts[1] not in DEFAULTS:
        message += f' Did you mean "{parts[0]}/{parts[1]}/HEAD"?'
    return message
