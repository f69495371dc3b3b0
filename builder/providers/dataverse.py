"""Dataverse: a DOI, of a dataset or of one of its files, at any Dataverse server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field
from yarl import URL

from bindery.errors import HostUnreachable, RepositoryNotFound
from bindery.settings import FetchSettings, ProviderSettings
from builder.archive_download import Part, bring
from builder.fetch_limits import Tell
from builder.guard import GuardedClient
from builder.providers import doi as dois
from builder.providers.api import Api
from builder.providers.base import ParsedSpec, Resolved
from builder.providers.doi import DoiResolver

_PAGES = ("/citation", "/dataset.xhtml", "/file.xhtml", "/dataset", "/datasets", "/file")


class _Version(BaseModel):
    major: int = Field(alias="versionNumber")
    minor: int = Field(alias="versionMinorNumber")


class _Dataset(BaseModel):
    id: int
    authority: str
    identifier: str
    persistent_url: str = Field("", alias="persistentUrl")
    latest: _Version = Field(alias="latestVersion")


class _DatasetAnswer(BaseModel):
    data: _Dataset


class _OwnVersion(BaseModel):
    dataset: str = Field(alias="datasetPersistentId")


class _OfDataset(BaseModel):
    version: _OwnVersion = Field(alias="datasetVersion")


class _FileAnswer(BaseModel):
    data: _OfDataset


class _DataFile(BaseModel):
    id: int
    filename: str = ""
    original_name: str | None = Field(None, alias="originalFileName")
    size: int | None = Field(None, alias="filesize")
    md5: str | None = None


class _Listed(BaseModel):
    label: str = ""
    folder: str = Field("", alias="directoryLabel")
    restricted: bool = False
    file: _DataFile = Field(alias="dataFile")


class _Listing(BaseModel):
    data: list[_Listed]


@dataclass(frozen=True)
class DataverseProvider:
    """Specs are DOIs; they mean the newest published version."""

    client: GuardedClient
    resolver: DoiResolver

    @property
    def display(self) -> Mapping[str, Any]:
        """See `Provider.display`."""
        pages = r"https?://[^/]+/(dataset\.xhtml|citation|file\.xhtml)\?persistentId=doi:"
        return {
            "displayName": "Dataverse DOI",
            "id": "dataverse",
            "spec": {"validateRegex": dois.VALID},
            # Whatever else a DOI may be comes before, but for OSF's.
            "detect": {
                "regex": rf"^(https?://(dx\.)?doi\.org/|doi:|{pages})(?<repo>10\.(?!17605/)\d+/[^&#]+?)/?([&#].*)?$"
            },
            "repo": {"label": "Dataverse DOI", "placeholder": "example: 10.7910/DVN/TJCLKP", "urlEncode": False},
            "ref": {"enabled": False},
        }

    def parse(self, spec: str) -> ParsedSpec:
        """Read a DOI."""
        doi = dois.parse(spec, "10.7910/DVN/TJCLKP")
        return ParsedSpec("dataverse", spec, doi, "", _slug(doi))

    async def resolve(self, parsed: ParsedSpec) -> Resolved:
        """Find the newest published version of the dataset."""
        host = await self._host(parsed.repo_url)
        dataset = await self._dataset(host, parsed.repo_url)
        doi = dois.parse(f"{dataset.authority}/{dataset.identifier}", "10.7910/DVN/TJCLKP")
        return Resolved(
            provider="dataverse",
            spec=doi,
            repo_url=doi,
            ref=f"{dataset.id}.v{dataset.latest.major}.{dataset.latest.minor}",
            ref_url=_web_address(dataset.persistent_url) or self.resolver.link(doi),
            slug=_slug(doi),
        )

    async def fetch(self, resolved: Resolved, folder: Path, limits: FetchSettings, tell: Tell) -> str:
        """See `Provider.fetch`."""
        host = await self._host(resolved.repo_url)
        dataset, _, version = resolved.ref.partition(".v")
        url = host / "api" / "datasets" / dataset / "versions" / version / "files"
        listing = await Api(self.client).read(_Listing, url, f"There is no version {version} of this dataset any more.")
        restricted = sum(each.restricted for each in listing.data)
        if restricted:
            tell(f"Left out: {restricted} restricted files\n")
        parts = [_part(host, each) for each in listing.data if not each.restricted]
        return await bring(self.client, parts, resolved.ref_url, folder, limits, tell)

    async def _host(self, doi: str) -> URL:
        address = await self.resolver.destination(doi)
        if not address.path.startswith(_PAGES) and "persistentId" not in address.query:
            raise dois.leads_elsewhere(doi, address, "a Dataverse server")
        return address.origin()

    async def _dataset(self, host: URL, doi: str) -> _Dataset:
        api = Api(self.client)
        absent = f"There is no published dataset {doi} at {host.host}."
        question = {"persistentId": f"doi:{doi}"}
        try:
            return (await api.read(_DatasetAnswer, _datasets(host) % question, absent)).data
        except RepositoryNotFound:
            # The DOI may be a file's.
            files = host / "api" / "files" / ":persistentId"
            answer = await api.read(_FileAnswer, files % {**question, "returnDatasetVersion": "true"}, absent)
            question = {"persistentId": answer.data.version.dataset}
            return (await api.read(_DatasetAnswer, _datasets(host) % question, absent)).data


def _datasets(host: URL) -> URL:
    return URL(f"{host}/api/datasets/:persistentId/")


def _web_address(text: str) -> str:
    return text if re.fullmatch(r"https?://[!#-;=?-~]{1,300}", text) else ""


def _part(host: URL, listed: _Listed) -> Part:
    # Tables are kept in a form of Dataverse's own; authors want what they uploaded.
    name = listed.file.original_name or listed.label or listed.file.filename
    if not name:
        raise HostUnreachable(f"{host.host} answered something that its interface does not promise.")
    url = host / "api" / "access" / "datafile" / str(listed.file.id)
    path = f"{listed.folder}/{name}" if listed.folder else name
    if listed.file.original_name:
        return Part(path, url % {"format": "original"})
    return Part(path, url, listed.file.size, f"md5:{listed.file.md5 or ''}")


def _slug(doi: str) -> str:
    return f"dataverse-{doi.partition('/')[2].lower().replace('/', '-2f')}"


def provider(settings: ProviderSettings, client: GuardedClient) -> DataverseProvider:
    """The entry point."""
    return DataverseProvider(client, DoiResolver(client, settings.doi_url))
