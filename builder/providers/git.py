"""Any Git server: `<percent-encoded URL>/<ref>`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from yarl import URL

from bindery.errors import HostRefused, InvalidSpec
from bindery.settings import ProviderSettings
from builder import refs
from builder.guard import GuardedClient
from builder.providers.base import ParsedSpec, Resolved
from builder.providers.over_git import OverGit, found

_SCP_LIKE = re.compile(r"(?:[A-Za-z0-9._-]+@)?(?P<host>[A-Za-z0-9.-]+):(?P<path>[^/\\:][^:\\]*)")
_CONTROL = re.compile(r"[\x00-\x20\x7f]")


@dataclass(frozen=True)
class GitProvider(OverGit):
    """Any repository that `git clone` reads without a login."""

    client: GuardedClient
    allowed_protocols: tuple[str, ...]
    timeout_seconds: float

    @property
    def display(self) -> Mapping[str, Any]:
        """See `Provider.display`."""
        return {
            "displayName": "Git repository",
            "id": "git",
            "spec": {"validateRegex": r"[^/]+/.+"},
            "repo": {
                "label": "Arbitrary git repository URL (http://git.example.com/repo)",
                "placeholder": "example: https://git.example.com/repo",
                "urlEncode": True,
            },
            "ref": {"enabled": True, "default": "HEAD"},
        }

    def parse(self, spec: str) -> ParsedSpec:
        """Read an encoded URL and a ref. Credentials are dropped; ssh forms become https where ssh is not allowed."""
        encoded, _, ref = spec.partition("/")
        if not encoded or not ref:
            raise InvalidSpec(
                f'Spec is not of the form "<url-encoded repository>/<ref>", provided: "{spec}".',
                hint=f"Encode the repository's URL and add a ref, such as {quote(unquote(encoded), safe='')}/HEAD.",
            )
        url = self._url(unquote(encoded))
        slug = re.sub(r"[^a-z0-9]+", "-", f"{url.host or 'local'}{url.path}".lower()).strip("-")
        return ParsedSpec("git", spec, str(url), refs.check(unquote(ref)), slug)

    def _url(self, text: str) -> URL:
        if _CONTROL.search(text) or text.startswith("-"):
            raise InvalidSpec(
                "The repository's address contains characters that no address has.",
                hint="Give the address that git clone takes.",
            )
        if scp := _SCP_LIKE.fullmatch(text):
            text = f"ssh://{scp['host']}/{scp['path']}"
        try:
            url = URL(text)
        except ValueError as error:
            raise InvalidSpec(f"{text} is not an address.", hint="Give the address that git clone takes.") from error
        if url.scheme == "ssh" and "ssh" not in self.allowed_protocols:
            url = URL.build(scheme="https", host=url.host or "", path=url.path)
        if url.scheme not in self.allowed_protocols:
            allowed = ", ".join(self.allowed_protocols)
            raise HostRefused(
                f"Unsupported git url {_without_login(url)}, protocol {url.scheme or '(none)'} not in {allowed}.",
                hint="Use the repository's https address.",
            )
        if url.scheme != "file" and not url.host:
            raise InvalidSpec(f"{text} names no host.", hint="Give the address that git clone takes.")
        return _without_login(url)

    async def resolve(self, parsed: ParsedSpec) -> Resolved:
        """Find the commit. A `main` or `master` that is gone means the default branch, with a notice."""
        commit = await self.find(parsed)
        spec = f"{quote(parsed.repo_url, safe='')}/{commit.commit}"
        return found(parsed, commit, spec, parsed.repo_url)


def _without_login(url: URL) -> URL:
    return url.with_user(None).with_fragment(None) if url.host else url


def provider(settings: ProviderSettings, client: GuardedClient) -> GitProvider:
    """The entry point."""
    return GitProvider(client, settings.git.allowed_protocols, settings.resolve_timeout_seconds)
