"""Figshare: a DOI, with or without a version."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, RootModel
from yarl import URL

from bindery.errors import InvalidSpec
from bindery.settings import FetchSettings, ProviderSettings
from builder.archive_download import Part, bring, too_large
from builder.fetch_limits import Tell
from builder.guard import GuardedClient
from builder.providers import doi as dois
from builder.providers.api import Api, address
from builder.providers.base import ParsedSpec, Resolved
from builder.providers.doi import DoiResolver

_ARTICLE = re.compile(r"(?P<before>10\.[^/]+/(?:.*?figshare\.|.*\.))(?P<article>\d{1,15})(?:\.v(?P<version>\d{1,6}))?")
_PAGE_SIZE = 1000


class _Version(BaseModel):
    version: int


class _Versions(RootModel[list[_Version]]):
    pass


class _File(BaseModel):
    name: str
    size: int | None = None
    is_link_only: bool = False
    download_url: str
    computed_md5: str | None = ""


class _Files(RootModel[list[_File]]):
    pass


@dataclass(frozen=True)
class FigshareProvider:
    """Specs are DOIs; one without `.vN` means the newest version."""

    client: GuardedClient
    api_url: str
    resolver: DoiResolver

    @property
    def display(self) -> Mapping[str, Any]:
        """See `Provider.display`."""
        return {
            "displayName": "FigShare DOI",
            "id": "figshare",
            "spec": {"validateRegex": dois.VALID},
            "detect": {"regex": r"^(https?://(dx\.)?doi\.org/|doi:)(?<repo>10\.\d+/(.*\.)?figshare\..+?)/?$"},
            "repo": {
                "label": "FigShare DOI",
                "placeholder": "example: 10.6084/m9.figshare.9782777.v1",
                "urlEncode": False,
            },
            "ref": {"enabled": False},
        }

    def parse(self, spec: str) -> ParsedSpec:
        """Read a DOI that ends with an article's number and, perhaps, its version."""
        doi = dois.parse(spec, "10.6084/m9.figshare.9782777.v1")
        article = _ARTICLE.fullmatch(doi)
        if article is None:
            raise InvalidSpec(
                f"{doi} does not end with the number of an article.",
                hint="A DOI of Figshare looks like 10.6084/m9.figshare.9782777.v1.",
            )
        version = article["version"] or ""
        return ParsedSpec("figshare", spec, doi, version, f"figshare-{article['article']}")

    async def resolve(self, parsed: ParsedSpec) -> Resolved:
        """Find the newest version, unless the DOI names one."""
        article = _ARTICLE.fullmatch(parsed.repo_url)
        assert article is not None
        await self.resolver.destination(parsed.repo_url)
        number = article["article"]
        version = parsed.ref or str(await self._newest(number))
        ref = f"{number}.v{version}"
        doi = f"{article['before']}{ref}"
        return Resolved(
            provider="figshare",
            spec=doi,
            repo_url=doi,
            ref=ref,
            ref_url=self.resolver.link(doi),
            slug=f"figshare-{ref}",
        )

    async def fetch(self, resolved: Resolved, folder: Path, limits: FetchSettings, tell: Tell) -> str:
        """See `Provider.fetch`."""
        article, _, version = resolved.ref.partition(".v")
        files: list[_File] = []
        while len(files) % _PAGE_SIZE == 0:
            page = await self._files(article, version, len(files) // _PAGE_SIZE + 1)
            files += page
            if not page:
                break
            if len(files) > limits.max_files:
                raise too_large(limits)
        parts = [
            Part(file.name, address(file.download_url, "Figshare"), file.size, f"md5:{file.computed_md5 or ''}")
            for file in files
            if not file.is_link_only
        ]
        return await bring(self.client, parts, resolved.ref_url, folder, limits, tell)

    async def _newest(self, article: str) -> int:
        absent = f"There is no article {article} at Figshare."
        versions = await Api(self.client).read(_Versions, self._article(article) / "versions", absent)
        return max((each.version for each in versions.root), default=1)

    async def _files(self, article: str, version: str, page: int) -> list[_File]:
        url = self._article(article) / "versions" / version / "files" % {"page": page, "page_size": _PAGE_SIZE}
        absent = f"There is no version {version} of article {article} at Figshare."
        return (await Api(self.client).read(_Files, url, absent)).root

    def _article(self, article: str) -> URL:
        return URL(self.api_url) / "articles" / article


def provider(settings: ProviderSettings, client: GuardedClient) -> FigshareProvider:
    """The entry point."""
    return FigshareProvider(client, settings.figshare.api_url, DoiResolver(client, settings.doi_url))
