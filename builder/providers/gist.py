"""GitHub's gists: `user/id`, or `user/id/commit`."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from yarl import URL

from bindery.errors import InvalidSpec, RefNotFound, RepositoryNotFound
from bindery.settings import GistSettings, ProviderSettings
from builder import git, refs
from builder.guard import GuardedClient
from builder.providers.api import Api
from builder.providers.base import ParsedSpec, Resolved
from builder.providers.forge import DEFAULTS, is_name
from builder.providers.over_git import OverGit, found

_ID = re.compile(r"[0-9a-f]{1,64}")
#: Gists that are remembered to be public; a public gist never becomes secret.
_REMEMBERED = 10_000


class _Gist(BaseModel):
    public: bool


@dataclass(frozen=True)
class GistProvider(OverGit):
    """Commits are found through Git; the API is asked only whether a gist is secret."""

    client: GuardedClient
    settings: GistSettings
    timeout_seconds: float
    _public: OrderedDict[str, None] = field(default_factory=OrderedDict)

    @property
    def display(self) -> Mapping[str, Any]:
        """See `Provider.display`."""
        host = self.settings.url.rstrip("/").partition("://")[2]
        return {
            "displayName": "GitHub Gist",
            "id": "gist",
            "spec": {"validateRegex": r"[^/]+/[^/]+(/[^/]+)?"},
            "detect": {"regex": rf"^(https?://{re.escape(host)}/)?(?<repo>.*?)/?$"},
            "repo": {
                "label": "Gist ID (username/gistId) or URL",
                "placeholder": "example: mariusvniekerk/8a658f7f63b13768d1e75fa2464f5092",
                "urlEncode": False,
            },
            "ref": {"enabled": True, "default": "HEAD"},
        }

    def parse(self, spec: str) -> ParsedSpec:
        """Read `user/id` and a commit; more parts are ignored."""
        user, gist, ref = [*spec.split("/"), "", ""][:3]
        gist = gist.removesuffix(".git")
        if not user or not gist:
            raise InvalidSpec(
                f'Spec is not of the form "user/gist-id/ref", provided: "{spec}".',
                hint="A link looks like /v2/gist/mariusvniekerk/8a658f7f63b13768d1e75fa2464f5092/HEAD.",
            )
        if not is_name(user) or not _ID.fullmatch(gist):
            raise InvalidSpec(f"{user}/{gist} cannot be a gist.", hint="A gist's id has digits and letters a to f.")
        url = f"{self.settings.url.rstrip('/')}/{user}/{gist}.git"
        return ParsedSpec("gist", spec, url, refs.check(ref or "HEAD"), gist)

    async def resolve(self, parsed: ParsedSpec) -> Resolved:
        """Find the commit; a gist has one branch, whatever the link calls it."""
        if not self.settings.allow_secret:
            await self._check_public(parsed.slug)
        if parsed.ref in DEFAULTS:
            remote = await git.contact(self.client, parsed.repo_url)
            commit = await refs.find(remote, "HEAD", self.timeout_seconds)
        elif refs.is_commit(parsed.ref):
            await git.contact(self.client, parsed.repo_url)
            commit = refs.Found(parsed.ref, "")
        else:
            raise RefNotFound(
                f"Gists have no branches or tags, so none called {parsed.ref}.",
                hint="Use HEAD for the newest version, or all 40 characters of a version's id.",
            )
        user = URL(parsed.repo_url).path.split("/")[-2]
        page = parsed.repo_url.removesuffix(".git")
        return found(parsed, commit, f"{user}/{parsed.slug}/{commit.commit}", f"{page}/{commit.commit}")

    async def _check_public(self, gist: str) -> None:
        if gist in self._public:
            return
        token = self.settings.token.get_secret_value()
        headers = {"Accept": "application/vnd.github+json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        url = URL(self.settings.api_url) / "gists" / gist
        answer = await Api(self.client, headers).read(_Gist, url, f"There is no gist {gist}.")
        if not answer.public:
            raise RepositoryNotFound(
                f"The gist {gist} is secret, and this service does not launch secret gists.",
                hint="Make the gist public, or ask the operator to allow secret ones.",
            )
        self._public[gist] = None
        if len(self._public) > _REMEMBERED:
            self._public.popitem(last=False)


def provider(settings: ProviderSettings, client: GuardedClient) -> GistProvider:
    """The entry point."""
    return GistProvider(client, settings.gist, settings.resolve_timeout_seconds)
