"""Zenodo: a DOI, of one version or of all of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yarl import URL

from bindery.settings import FetchSettings, ProviderSettings
from builder.archive_download import bring
from builder.fetch_limits import Tell
from builder.guard import GuardedClient
from builder.providers import doi as dois
from builder.providers.base import ParsedSpec, Resolved
from builder.providers.doi import DoiResolver
from builder.providers.invenio import InvenioHosts, Record

_OWN = re.compile(r"(?P<before>.*?)zenodo\.\d+", re.IGNORECASE)


@dataclass(frozen=True)
class ZenodoProvider:
    """Specs are DOIs. A concept's DOI means its newest version."""

    client: GuardedClient
    url: str
    resolver: DoiResolver

    @property
    def display(self) -> Mapping[str, Any]:
        """See `Provider.display`."""
        host = re.escape(self.url.rstrip("/").partition("://")[2])
        before = rf"https?://((dx\.)?doi\.org|{host}/doi)/|doi:"
        return {
            "displayName": "Zenodo DOI",
            "id": "zenodo",
            "spec": {"validateRegex": dois.VALID},
            "detect": {"regex": rf"^({before})(?<repo>10\.\d+/[zZ][eE][nN][oO][dD][oO]\..+?)/?$"},
            "repo": {"label": "Zenodo DOI", "placeholder": "example: 10.5281/zenodo.3242074", "urlEncode": False},
            "ref": {"enabled": False},
        }

    def parse(self, spec: str) -> ParsedSpec:
        """Read a DOI."""
        doi = dois.parse(spec, "10.5281/zenodo.3242074")
        return ParsedSpec("zenodo", spec, doi, "", doi)

    async def resolve(self, parsed: ParsedSpec) -> Resolved:
        """Find the record that the DOI leads to."""
        hosts = InvenioHosts(self.client)
        record = await hosts.published(await self._led_to(parsed.repo_url))
        own = _OWN.match(parsed.repo_url)
        doi = f"{own['before']}zenodo.{record.id}" if own else parsed.repo_url
        return Resolved(
            provider="zenodo",
            spec=doi,
            repo_url=doi,
            ref=record.id,
            ref_url=self.resolver.link(doi),
            slug=f"zenodo-{record.id}",
        )

    async def fetch(self, resolved: Resolved, folder: Path, limits: FetchSettings, tell: Tell) -> str:
        """See `Provider.fetch`."""
        # Zenodo's own DOIs need not be asked for again.
        led_to = None if _OWN.match(resolved.repo_url) else await self._led_to(resolved.repo_url)
        record = Record(led_to.base if led_to else self.url.rstrip("/"), resolved.ref)
        parts = await InvenioHosts(self.client).parts(record)
        return await bring(self.client, parts, resolved.ref_url, folder, limits, tell)

    async def _led_to(self, doi: str) -> Record:
        hosts = InvenioHosts(self.client)
        address = await self.resolver.destination(doi, lambda url: hosts.named(url) is not None)
        record = hosts.named(address)
        if record is None or (_OWN.match(doi) and URL(record.base).host != URL(self.url).host):
            raise dois.leads_elsewhere(doi, address, "a record of Zenodo")
        return record


def provider(settings: ProviderSettings, client: GuardedClient) -> ZenodoProvider:
    """The entry point."""
    return ZenodoProvider(client, settings.zenodo.url, DoiResolver(client, settings.doi_url))
