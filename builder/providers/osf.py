"""Open Science Framework: a project, component or registration, by its id, its address or its DOI."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pydantic import BaseModel
from yarl import URL

from bindery.errors import InvalidSpec, RepositoryNotFound
from bindery.settings import FetchSettings, OsfSettings, ProviderSettings
from builder.archive_download import Part, bring
from builder.fetch_limits import Tell
from builder.guard import GuardedClient
from builder.providers.api import Api
from builder.providers.base import ParsedSpec, Resolved
from builder.providers.epoch import changed, epoch

_SPEC = re.compile(
    r"(?:https?:/{1,2}(?P<host>[^/]+)/)?(?:(?:doi:)?10\.17605/osf\.io/)?(?P<id>[a-z0-9]{5})(?:[/?#].*)?", re.IGNORECASE
)
_HOSTS = ("osf.io", "www.osf.io", "doi.org", "dx.doi.org")
_KINDS = frozenset({"nodes", "registrations"})


class _Attributes(BaseModel):
    date_modified: str = ""


class _Data(BaseModel):
    id: str
    type: str
    attributes: _Attributes = _Attributes()


class _Answer(BaseModel):
    data: _Data


@dataclass(frozen=True)
class OsfProvider:
    """The files of a project's own storage. Projects change: a version is the time of the last change."""

    client: GuardedClient
    settings: OsfSettings

    @property
    def display(self) -> Mapping[str, Any]:
        """See `Provider.display`."""
        host = re.escape(self.settings.url.rstrip("/").partition("://")[2])
        before = rf"https?://{host}/|(https?://(dx\.)?doi\.org/|doi:)10\.17605/[oO][sS][fF]\.[iI][oO]/"
        return {
            "displayName": "OSF project",
            "id": "osf",
            "spec": {"validateRegex": r"[^/]+"},
            "detect": {"regex": rf"^({before})(?<repo>[A-Za-z0-9]{{5}})([/?#].*)?$"},
            "repo": {
                "label": "OSF project id or URL",
                "placeholder": "example: https://osf.io/ezcuj",
                "urlEncode": True,
            },
            "ref": {"enabled": False},
        }

    def parse(self, spec: str) -> ParsedSpec:
        """Read an id of five letters and digits, also in an address or DOI."""
        found = _SPEC.fullmatch(unquote(spec))
        own = self.settings.url.partition("://")[2].rstrip("/")
        if found is None or (found["host"] or own).lower() not in (own, *_HOSTS):
            raise InvalidSpec(
                f'"{unquote(spec)[:200]}" names no OSF project.',
                hint="An id has five letters and digits, such as ezcuj in https://osf.io/ezcuj.",
            )
        guid = found["id"].lower()
        return ParsedSpec("osf", spec, f"{self.settings.url.rstrip('/')}/{guid}", "", f"osf-{guid}")

    async def resolve(self, parsed: ParsedSpec) -> Resolved:
        """Find when the project changed last."""
        guid = parsed.repo_url.rpartition("/")[2]
        return Resolved(
            provider="osf",
            spec=guid,
            repo_url=parsed.repo_url,
            ref=f"{guid}.v{await self._modified(guid)}",
            ref_url=parsed.repo_url,
            slug=parsed.slug,
        )

    async def fetch(self, resolved: Resolved, folder: Path, limits: FetchSettings, tell: Tell) -> str:
        """See `Provider.fetch`."""
        guid, _, version = resolved.ref.partition(".v")
        storage = URL(self.settings.files_url) / "resources" / guid / "providers" / "osfstorage" / ""
        part = Part(f"{guid}.zip", storage % {"zip": ""})
        made = await bring(self.client, [part], f"{resolved.repo_url} {resolved.ref}", folder, limits, tell)
        if str(await self._modified(guid)) != version:
            raise changed(resolved.repo_url)
        return made

    async def _modified(self, guid: str) -> int:
        url = URL(self.settings.api_url) / "guids" / guid / ""
        data = (await Api(self.client).read(_Answer, url, f"There is no OSF project {guid}.")).data
        if data.type not in _KINDS:
            raise RepositoryNotFound(
                f"{guid} is no OSF project or registration, but one of OSF's {data.type[:40]}.",
                hint="Give the id of the project that it belongs to.",
            )
        return epoch(data.attributes.date_modified, "OSF")


def provider(settings: ProviderSettings, client: GuardedClient) -> OsfProvider:
    """The entry point."""
    return OsfProvider(client, settings.osf)
