"""Software Heritage: `swh:1:rev:...`, and the other kinds of identifiers that lead to a folder."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from pydantic import BaseModel
from yarl import URL

from bindery.errors import HostUnreachable, InvalidSpec, RepositoryNotFound
from bindery.settings import FetchSettings, ProviderSettings, SoftwareHeritageSettings
from builder.archive_download import Part, bring
from builder.fetch_limits import Tell
from builder.guard import GuardedClient
from builder.providers.api import Answer, Api, address
from builder.providers.base import ParsedSpec, Resolved

#: Seconds between looks at what the archive is preparing: first, and at most.
POLL_SECONDS, MOST_POLL_SECONDS = 2.0, 20.0

_ID = re.compile(r"(?P<core>swh:1:(?P<kind>rev|rel|dir|snp|ori|cnt):(?P<hash>[0-9a-f]{40}))(?:;.*)?", re.DOTALL)
_HASH = re.compile(r"[0-9a-f]{40}")
_DEFAULTS = ("HEAD", "refs/heads/main", "refs/heads/master")
#: Releases of releases, branches that mean branches: how many are followed.
_STEPS = 8


class _Where(BaseModel):
    browse_url: str


class _Visit(BaseModel):
    snapshot: str


class _Target(BaseModel):
    target: str
    target_type: str


class _Snapshot(BaseModel):
    branches: dict[str, _Target | None]


class _Revision(BaseModel):
    directory: str


class _Cooking(BaseModel):
    status: str
    fetch_url: str = ""
    progress_message: str | None = ""


@dataclass(frozen=True)
class SoftwareHeritageProvider:
    """Whatever the identifier is, what is launched is a folder: an identifier of contents, the same for ever."""

    client: GuardedClient
    settings: SoftwareHeritageSettings
    poll_seconds: float = POLL_SECONDS

    @property
    def display(self) -> Mapping[str, Any]:
        """See `Provider.display`."""
        host = re.escape(self.settings.url.rstrip("/").partition("://")[2])
        return {
            "displayName": "Software Heritage",
            "id": "swh",
            "spec": {"validateRegex": r"swh(:|%3A)1(:|%3A)[a-z]{3}(:|%3A)[0-9a-f]{40}.*"},
            "detect": {"regex": rf"^(https?://{host}/)?(?<repo>swh:1:[a-z]{{3}}:[0-9a-f]{{40}})([;/?#].*)?$"},
            "repo": {
                "label": "Software Heritage identifier (SWHID)",
                "placeholder": "example: swh:1:rev:94dca98b006b80309704c717b5d83dff3c1fa3a0",
                "urlEncode": True,
            },
            "ref": {"enabled": False},
        }

    def parse(self, spec: str) -> ParsedSpec:
        """Read an identifier; its qualifiers are ignored."""
        found = _ID.fullmatch(unquote(spec))
        if found is None or found["kind"] == "cnt":
            raise InvalidSpec(
                f'"{unquote(spec)[:200]}" identifies no folder at Software Heritage.',
                hint="Give an identifier such as swh:1:rev:94dca98b006b80309704c717b5d83dff3c1fa3a0; "
                "the kinds rev, rel, dir, snp and ori can be launched.",
            )
        page = f"{self.settings.url.rstrip('/')}/{found['core']}"
        return ParsedSpec("swh", spec, page, "", f"swh-{found['kind']}-{found['hash'][:12]}")

    async def resolve(self, parsed: ParsedSpec) -> Resolved:
        """Find the folder."""
        core = parsed.repo_url.rpartition("/")[2]
        _, _, kind, identity = core.split(":")
        if kind == "ori":
            kind, identity = "snp", await self._last_visit(core)
            core = f"swh:1:snp:{identity}"
        folder = await self._folder(kind, identity)
        page = f"{self.settings.url.rstrip('/')}/{core}"
        return Resolved(
            provider="swh", spec=quote(core, safe=":"), repo_url=page, ref=folder, ref_url=page, slug=parsed.slug
        )

    async def fetch(self, resolved: Resolved, folder: Path, limits: FetchSettings, tell: Tell) -> str:
        """See `Provider.fetch`."""
        url = self._api("vault", "flat", f"swh:1:dir:{resolved.ref}")
        try:
            async with asyncio.timeout(limits.timeout_seconds):
                prepared = await self._prepared(url, tell)
        except TimeoutError as error:
            raise HostUnreachable(
                f"Software Heritage did not prepare the folder within {limits.timeout_seconds:g} seconds.",
                hint="Launch it again later: it goes on preparing.",
            ) from error
        part = Part(f"{resolved.ref}.tar.gz", prepared)
        return await bring(self.client, [part], resolved.ref_url, folder, limits, tell)

    async def _prepared(self, url: URL, tell: Tell) -> URL:
        """Where the folder can be downloaded, once the archive has prepared it."""
        answer = await self._ask(_Cooking, url, "Software Heritage has no such folder.", method="POST")
        pause, said = self.poll_seconds, ""
        while answer.status in ("new", "pending"):
            if (line := answer.progress_message or "Software Heritage prepares the folder") != said:
                tell(f"{line[:200]}\n")
                said = line
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, MOST_POLL_SECONDS)
            answer = await self._ask(_Cooking, url, "Software Heritage has no such folder.")
        if answer.status != "done":
            raise HostUnreachable(
                f"Software Heritage cannot prepare the folder: {(answer.progress_message or 'it failed')[:200]}"
            )
        return address(answer.fetch_url, "Software Heritage") if answer.fetch_url else url / "raw" / ""

    async def _folder(self, kind: str, identity: str) -> str:
        """The folder that a revision, release or snapshot has."""
        for _ in range(_STEPS):
            absent = f"Software Heritage does not know swh:1:{kind}:{identity}."
            if not _HASH.fullmatch(identity):
                break
            if kind in ("dir", "directory"):
                return identity
            if kind in ("rev", "revision"):
                answer = await self._ask(_Revision, self._api("revision", identity), absent)
                kind, identity = "dir", answer.directory
                continue
            target = await self._target(kind, identity, absent)
            kind, identity = target.target_type, target.target
        raise RepositoryNotFound("The identifier leads to no folder.", hint="Give the identifier of a revision.")

    async def _target(self, kind: str, identity: str, absent: str) -> _Target:
        if kind in ("rel", "release"):
            return await self._ask(_Target, self._api("release", identity), absent)
        if kind not in ("snp", "snapshot"):
            raise RepositoryNotFound(
                f"The identifier leads to a {kind[:40]}, not to a folder.", hint="Give the identifier of a revision."
            )
        return await self._head(identity, absent)

    async def _head(self, snapshot: str, absent: str) -> _Target:
        """The default branch of a snapshot."""
        wanted = [*_DEFAULTS]
        for _ in range(_STEPS):
            if not wanted:
                break
            name = wanted.pop(0)
            question = self._api("snapshot", snapshot) % {"branches_from": name, "branches_count": 1}
            found = (await self._ask(_Snapshot, question, absent)).branches.get(name)
            if found is not None and found.target_type != "alias":
                return found
            if found is not None:
                wanted.insert(0, found.target)
        raise RepositoryNotFound("The snapshot has no default branch.", hint="Give the identifier of a revision.")

    async def _last_visit(self, origin: str) -> str:
        absent = f"Software Heritage does not know {origin}."
        where = await self._ask(_Where, self._api("resolve", origin), absent)
        page = address(where.browse_url, "Software Heritage").query.get("origin_url", "")
        visit = URL(f"{self._api('origin')}{quote(page, safe=':/')}/visit/latest/", encoded=True)
        return (await self._ask(_Visit, visit % {"require_snapshot": "true"}, absent)).snapshot

    async def _ask(self, shape: type[Answer], url: URL, absent: str, *, method: str = "GET") -> Answer:
        token = self.settings.token.get_secret_value()
        api = Api(self.client, {"Authorization": f"Bearer {token}"} if token else {})
        return await api.read(shape, url, absent, method=method)

    def _api(self, *parts: str) -> URL:
        return URL(f"{self.settings.url.rstrip('/')}/api/1/{'/'.join(quote(part, safe=':') for part in parts)}/")


def provider(settings: ProviderSettings, client: GuardedClient) -> SoftwareHeritageProvider:
    """The entry point."""
    return SoftwareHeritageProvider(client, settings.swh)
