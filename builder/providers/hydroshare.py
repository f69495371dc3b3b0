"""HydroShare: anything that contains a resource's id."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from pydantic import BaseModel
from yarl import URL

from bindery.errors import HostUnreachable, InvalidSpec
from bindery.settings import FetchSettings, ProviderSettings
from builder.archive_download import Part, bring, too_large
from builder.fetch_limits import Tell
from builder.guard import GuardedClient
from builder.providers.api import Api, address
from builder.providers.base import ParsedSpec, Resolved
from builder.providers.epoch import changed, epoch

_ID = re.compile(r"[0-9a-f]{32}")
_CONTENTS = "/data/contents/"


class _Date(BaseModel):
    type: str
    start_date: str


class _Elements(BaseModel):
    dates: list[_Date]


class _File(BaseModel):
    url: str
    size: int | None = None


class _Files(BaseModel):
    results: list[_File]
    next: str | None = None


@dataclass(frozen=True)
class HydroShareProvider:
    """Specs are ids, DOIs or addresses of resources. Resources change: a version is the time of the last change."""

    client: GuardedClient
    url: str

    @property
    def display(self) -> Mapping[str, Any]:
        """See `Provider.display`."""
        host = re.escape(self.url.rstrip("/").partition("://")[2].removeprefix("www."))
        before = rf"https?://(www\.)?{host}/resource/|(https?://(dx\.)?doi\.org/|doi:)10\.4211/hs\."
        return {
            "displayName": "Hydroshare resource",
            "id": "hydroshare",
            "spec": {"validateRegex": r"[^/]+"},
            "detect": {"regex": rf"^({before})(?<repo>[0-9a-f]{{32}})([/?#].*)?$"},
            "repo": {
                "label": "Hydroshare resource id or URL",
                "placeholder": "example: 8f7c2f0341ef4180b0dbe97f59130756",
                "urlEncode": True,
            },
            "ref": {"enabled": False},
        }

    def parse(self, spec: str) -> ParsedSpec:
        """Read whatever contains the 32 digits of a resource's id."""
        found = _ID.search(unquote(spec))
        if found is None:
            raise InvalidSpec(
                f'"{unquote(spec)[:200]}" contains no id of a HydroShare resource.',
                hint="An id has 32 digits and letters a to f, such as 8f7c2f0341ef4180b0dbe97f59130756.",
            )
        page = f"{self.url.rstrip('/')}/resource/{found[0]}"
        return ParsedSpec("hydroshare", spec, page, "", f"hydroshare-{found[0]}")

    async def resolve(self, parsed: ParsedSpec) -> Resolved:
        """Find when the resource changed last."""
        resource = parsed.repo_url.rpartition("/")[2]
        ref = f"{resource}.v{await self._modified(resource)}"
        return Resolved(
            provider="hydroshare",
            spec=quote(parsed.repo_url, safe=""),
            repo_url=parsed.repo_url,
            ref=ref,
            ref_url=parsed.repo_url,
            slug=f"hydroshare-{ref}",
        )

    async def fetch(self, resolved: Resolved, folder: Path, limits: FetchSettings, tell: Tell) -> str:
        """See `Provider.fetch`."""
        resource, _, version = resolved.ref.partition(".v")
        parts: list[Part] = []
        page: URL | None = self._resource(resource) / "files" / ""
        while page is not None:
            answer = await Api(self.client).read(_Files, page, f"There is no resource {resource} at HydroShare.")
            parts += [_part(file) for file in answer.results]
            if len(parts) > limits.max_files:
                raise too_large(limits)
            page = address(answer.next, "HydroShare") if answer.next and answer.results else None
        made = await bring(self.client, parts, f"{resolved.ref_url} {resolved.ref}", folder, limits, tell)
        if str(await self._modified(resource)) != version:
            raise changed(resolved.repo_url)
        return made

    async def _modified(self, resource: str) -> int:
        url = self._resource(resource) / "scimeta" / "elements" / ""
        answer = await Api(self.client).read(_Elements, url, f"There is no resource {resource} at HydroShare.")
        dates = [date.start_date for date in answer.dates if date.type == "modified"]
        if not dates:
            raise HostUnreachable("HydroShare does not say when the resource changed.")
        return epoch(dates[0], "HydroShare")

    def _resource(self, resource: str) -> URL:
        return URL(self.url) / "hsapi" / "resource" / resource


def _part(file: _File) -> Part:
    url = address(file.url, "HydroShare")
    path = url.path.partition(_CONTENTS)[2] or url.path.rpartition("/")[2]
    return Part(path, url, file.size)


def provider(settings: ProviderSettings, client: GuardedClient) -> HydroShareProvider:
    """The entry point."""
    return HydroShareProvider(client, settings.hydroshare.url)
