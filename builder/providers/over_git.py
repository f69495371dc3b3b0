"""What providers have in common whose host speaks Git: no API, no token, no rate limit."""

from __future__ import annotations

from pathlib import Path

from bindery.settings import FetchSettings
from builder import git, refs
from builder.fetch import fetch
from builder.fetch_limits import Tell
from builder.guard import GuardedClient
from builder.providers.base import ParsedSpec, Resolved
from builder.refs import Found


class OverGit:
    """Resolves and fetches through the Git protocol."""

    client: GuardedClient
    timeout_seconds: float

    async def find(self, parsed: ParsedSpec) -> Found:
        """The commit of the spec's ref. A `main` or `master` that is gone means the default branch, with a notice."""
        remote = await git.contact(self.client, parsed.repo_url)
        return await refs.find(remote, parsed.ref, self.timeout_seconds)

    async def fetch(self, resolved: Resolved, folder: Path, limits: FetchSettings, tell: Tell) -> str:
        """See `Provider.fetch`."""
        return await from_git(self.client, resolved, folder, limits, tell)


async def from_git(client: GuardedClient, resolved: Resolved, folder: Path, limits: FetchSettings, tell: Tell) -> str:
    """Fetch a commit whose `repo_url` Git can clone."""
    remote = await git.contacted(client, resolved.repo_url)
    await fetch(remote, resolved.ref, folder, limits, tell)
    return resolved.ref


def found(parsed: ParsedSpec, commit: Found, spec: str, ref_url: str) -> Resolved:
    """The resolved form of a spec whose commit was found."""
    return Resolved(
        provider=parsed.provider,
        spec=spec,
        repo_url=parsed.repo_url,
        ref=commit.commit,
        ref_url=ref_url,
        slug=parsed.slug,
        branch=commit.name,
        notice=commit.notice,
    )
