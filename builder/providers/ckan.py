"""CKAN: the percent-encoded address of a dataset at any CKAN server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from pydantic import BaseModel, Field
from yarl import URL

from bindery.errors import InvalidSpec
from bindery.settings import FetchSettings, ProviderSettings
from builder.archive_download import Part, bring
from builder.fetch_limits import Tell
from builder.guard import GuardedClient
from builder.providers.api import Api, address
from builder.providers.base import ParsedSpec, Resolved
from builder.providers.epoch import changed, epoch

_NAME = re.compile(r"[A-Za-z0-9._-]{1,200}")
#: A dataset's page, whatever the host; what follows the dataset's name is left out, but for a former state.
_PAGE = (
    r"^(?<repo>https?://[^/?#]+(/[^?#]*)?/dataset/(?!(activity|groups|changes)/)(?![^/?#]*\.git([/?#]|$))[^/?#]+"
    r"(/history/[^/?#]+|\?activity_id=[^&#]+)?)([/?&#].*)?$"
)
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f-\x9f\ud800-\udfff\\]")


class _Resource(BaseModel):
    id: str = ""
    url: str = ""


class _Package(BaseModel):
    modified: str = Field(alias="metadata_modified")
    resources: list[_Resource] = Field(default_factory=list)


class _Answer(BaseModel):
    class _Activity(BaseModel):
        package: _Package

    result: _Package | _Activity


@dataclass(frozen=True)
class _Dataset:
    """A dataset as its address names it; `activity` is one of its former states."""

    site: URL
    name: str
    activity: str

    @property
    def question(self) -> URL:
        """What to ask the server's API."""
        actions = self.site / "api" / "3" / "action"
        if self.activity:
            return actions / "activity_data_show" % {"id": self.activity, "object_type": "package"}
        return actions / "package_show" % {"id": self.name}


@dataclass(frozen=True)
class CkanProvider:
    """Datasets change: a version is the time of the last change."""

    client: GuardedClient

    @property
    def display(self) -> Mapping[str, Any]:
        """See `Provider.display`."""
        return {
            "displayName": "CKAN dataset",
            "id": "ckan",
            "spec": {"validateRegex": r"[^/]+"},
            "detect": {"regex": _PAGE},
            "repo": {
                "label": "CKAN dataset URL",
                "placeholder": "example: https://demo.ckan.org/dataset/sample-dataset-1",
                "urlEncode": True,
            },
            "ref": {"enabled": False},
        }

    def parse(self, spec: str) -> ParsedSpec:
        """Read the address of a dataset, or of one of its former states."""
        text = unquote(spec)
        dataset = _dataset(text)
        return ParsedSpec("ckan", spec, _without_login(text), "", f"ckan-{dataset.name}")

    async def resolve(self, parsed: ParsedSpec) -> Resolved:
        """Find when the dataset changed last."""
        dataset = _dataset(parsed.repo_url)
        return Resolved(
            provider="ckan",
            spec=quote(parsed.repo_url, safe=""),
            repo_url=parsed.repo_url,
            ref=f"{dataset.name}.v{_version(await self._package(dataset))}",
            ref_url=parsed.repo_url,
            slug=parsed.slug,
        )

    async def fetch(self, resolved: Resolved, folder: Path, limits: FetchSettings, tell: Tell) -> str:
        """See `Provider.fetch`."""
        package = await self._package(_dataset(resolved.repo_url))
        if str(_version(package)) != resolved.ref.rpartition(".v")[2]:
            raise changed(resolved.repo_url)
        parts = [_part(resource) for resource in package.resources if resource.url]
        return await bring(self.client, parts, f"{resolved.repo_url} {resolved.ref}", folder, limits, tell)

    async def _package(self, dataset: _Dataset) -> _Package:
        absent = f"There is no dataset {dataset.activity or dataset.name} at {dataset.site.host}."
        answer = await Api(self.client).read(_Answer, dataset.question, absent)
        return answer.result if isinstance(answer.result, _Package) else answer.result.package


def _dataset(text: str) -> _Dataset:
    try:
        url = URL(text)
    except ValueError:
        url = URL()
    before, found, after = url.path.partition("/dataset/")
    parts = after.split("/")
    if _FORBIDDEN.search(text) or url.scheme not in ("http", "https") or not url.host or not found:
        raise InvalidSpec(
            f'"{text[:200]}" is not the address of a CKAN dataset.',
            hint="It looks like https://demo.ckan.org/dataset/sample-dataset-1, percent-encoded.",
        )
    history = parts[2] if parts[1:2] == ["history"] and len(parts) > 2 else ""
    activity = history or url.query.get("activity_id", "")
    if not _NAME.fullmatch(parts[0]) or (activity and not _NAME.fullmatch(activity)):
        raise InvalidSpec(f"{parts[0][:200]!r} cannot be a CKAN dataset.", hint="Give the address of its page.")
    return _Dataset(url.origin().with_path(before), parts[0], activity)


def _without_login(text: str) -> str:
    return str(URL(text).with_user(None).with_fragment(None))


def _version(package: _Package) -> int:
    return epoch(package.modified, "The CKAN server")


def _part(resource: _Resource) -> Part:
    url = address(resource.url, "The CKAN server")
    return Part(url.path.rpartition("/")[2] or resource.id or "resource", url)


def provider(settings: ProviderSettings, client: GuardedClient) -> CkanProvider:
    """The entry point."""
    return CkanProvider(client)
