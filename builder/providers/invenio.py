"""InvenioRDM: a record of any server, by the address of its page, a DOI, or a bare id where the setting names one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from pydantic import BaseModel, Field
from yarl import URL

from bindery.errors import HostUnreachable, InvalidSpec, RepositoryNotFound
from bindery.settings import FetchSettings, ProviderSettings
from builder.archive_download import Part, bring
from builder.fetch_limits import Tell
from builder.guard import GuardedClient
from builder.providers import doi as dois
from builder.providers.api import Api, address
from builder.providers.base import ParsedSpec, Resolved
from builder.providers.doi import DoiResolver

RECORD_ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,62}[A-Za-z0-9])?")
_PAGE = re.compile(r"(?P<base>https?://[^/\s?#@]+)/(?:api/)?records?/(?P<id>[A-Za-z0-9.-]+)(?:[/?#].*)?")
#: Zenodo's own DOIs end with the record's id.
_DOI_PAGE = re.compile(r"(?P<base>https?://[^/\s?#@]+)/doi/10\.[^/]+/zenodo\.(?P<id>\d+)/?")


class _Links(BaseModel):
    self: str = ""
    content: str = ""
    files: str = ""


class _Record(BaseModel):
    id: int | str
    links: _Links = _Links()


class _Entry(BaseModel):
    key: str
    size: int | None = None
    checksum: str | None = ""
    links: _Links = _Links()


class _Files(BaseModel):
    enabled: bool = True
    entries: list[_Entry] = Field(default_factory=list)


@dataclass(frozen=True)
class Record:
    """One published version of a record."""

    base: str
    id: str
    files: str = ""

    @property
    def page(self) -> str:
        """The record's page."""
        return f"{self.base}/records/{self.id}"


@dataclass(frozen=True)
class InvenioHosts:
    """Records of any InvenioRDM server."""

    client: GuardedClient

    def named(self, page: URL) -> Record | None:
        """The record that an address is the page of."""
        text = str(page)
        found = _PAGE.fullmatch(text) or _DOI_PAGE.fullmatch(text)
        return Record(found["base"], found["id"]) if found and RECORD_ID.fullmatch(found["id"]) else None

    async def published(self, record: Record) -> Record:
        """The version that a record's id means now: a concept's id means its newest version."""
        try:
            answer = await self._answer(record)
        except RepositoryNotFound:
            # Not every server's interface knows concepts; their pages lead to the newest version.
            newest = await self._shown(record)
            if newest is None or newest.id == record.id:
                raise
            answer = await self._answer(newest)
        identity = str(answer.id)
        if not RECORD_ID.fullmatch(identity):
            raise HostUnreachable(f"{record.base} calls the record {identity[:60]!r}, which is no id.")
        return Record(record.base, identity, answer.links.files)

    async def _answer(self, record: Record) -> _Record:
        url = URL(f"{record.base}/api/records/{record.id}")
        return await Api(self.client).read(_Record, url, f"There is no record {record.id} at {url.host}.")

    async def _shown(self, record: Record) -> Record | None:
        """The record whose page a record's page leads to."""
        async with self.client.get(URL(record.page), {"Accept": "text/html"}) as response:
            return self.named(response.url) if response.status == 200 else None

    async def parts(self, record: Record) -> list[Part]:
        """The record's files."""
        published = await self.published(record)
        listing = published.files or f"{record.base}/api/records/{record.id}/files"
        url = address(listing, record.base)
        answer = await Api(self.client).read(_Files, url, f"The record {record.id} has no files.")
        return [_part(entry, listing) for entry in answer.entries]


def _part(entry: _Entry, listing: str) -> Part:
    where = entry.links.content or entry.links.self or f"{listing}/{quote(entry.key, safe='')}/content"
    return Part(entry.key, address(where, listing), entry.size, entry.checksum or "")


@dataclass(frozen=True)
class InvenioProvider:
    """Specs are percent-encoded addresses of record pages, or DOIs that lead to one."""

    client: GuardedClient
    base: str
    resolver: DoiResolver

    @property
    def display(self) -> Mapping[str, Any]:
        """See `Provider.display`."""
        return {
            "displayName": "InvenioRDM record",
            "id": "invenio",
            "spec": {"validateRegex": r"[^/]+"},
            "detect": {"regex": r"^https?://(?<repo>[^/]+/records?/[A-Za-z0-9.-]+)([/?#].*)?$"},
            "repo": {
                "label": "Address of a record at an InvenioRDM server, or its DOI",
                "placeholder": "example: https://data.caltech.edu/records/z4ybk-cb307",
                "urlEncode": True,
            },
            "ref": {"enabled": False},
        }

    def parse(self, spec: str) -> ParsedSpec:
        """Read a record's address or DOI; a bare id means a record of the host that the setting names."""
        text = unquote(spec).strip("/")
        if self.base and RECORD_ID.fullmatch(text):
            text = f"{self.base.rstrip('/')}/records/{text}"
        if re.match(r"10\.\d|doi:|https?://(dx\.)?doi\.org/", text):
            doi = dois.parse(text, "10.22002/z4ybk-cb307")
            return ParsedSpec("invenio", spec, doi, "", doi)
        if "://" not in text:
            text = f"https://{text}"
        record = InvenioHosts(self.client).named(_parsed(text))
        if record is None:
            raise InvalidSpec(
                f'"{text[:200]}" is not the address of a record.',
                hint="Give the address of a record's page, such as https://data.caltech.edu/records/z4ybk-cb307.",
            )
        return ParsedSpec("invenio", spec, record.page, "", _slug(record))

    async def resolve(self, parsed: ParsedSpec) -> Resolved:
        """Find the version that the record, or the concept, is now."""
        hosts = InvenioHosts(self.client)
        page = URL(parsed.repo_url)
        if not parsed.repo_url.startswith("http"):
            page = await self.resolver.destination(parsed.repo_url, lambda url: hosts.named(url) is not None)
        record = hosts.named(page)
        if record is None:
            raise dois.leads_elsewhere(parsed.repo_url, page, "a record of an InvenioRDM server")
        record = await hosts.published(record)
        return Resolved(
            provider="invenio",
            spec=quote(record.page, safe=""),
            repo_url=record.page,
            ref=record.id,
            ref_url=record.page,
            slug=_slug(record),
        )

    async def fetch(self, resolved: Resolved, folder: Path, limits: FetchSettings, tell: Tell) -> str:
        """See `Provider.fetch`."""
        hosts = InvenioHosts(self.client)
        record = hosts.named(URL(resolved.repo_url))
        if record is None:
            raise InvalidSpec(f"{resolved.repo_url} is not a record's page.", hint="Launch the link again.")
        return await bring(self.client, await hosts.parts(record), resolved.repo_url, folder, limits, tell)


def _slug(record: Record) -> str:
    return f"{record.base.partition('://')[2]}-{record.id}"


def _parsed(text: str) -> URL:
    try:
        return URL(text)
    except ValueError as error:
        raise InvalidSpec(f'"{text[:200]}" is not an address.', hint="Give the address of a record's page.") from error


def provider(settings: ProviderSettings, client: GuardedClient) -> InvenioProvider:
    """The entry point."""
    return InvenioProvider(client, settings.invenio.url, DoiResolver(client, settings.doi_url))
