"""Where repositories come from: the Protocol of every provider."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from bindery.settings import FetchSettings
from builder.fetch_limits import Tell


@dataclass(frozen=True)
class ParsedSpec:
    """A spec that follows its provider's grammar. Nothing has been asked of anybody yet.

    `spec` is as it was requested, without trailing slashes; `repo_url` what Git clones, free of credentials, or the
    archive's DOI or address. `ref` is empty for archives, whose specs name none.
    """

    provider: str
    spec: str
    repo_url: str
    ref: str
    slug: str


@dataclass(frozen=True)
class Resolved:
    """What a spec points to now, and for ever.

    `spec` names it in the provider's own notation, `ref_url` shows it to people. `ref` is its immutable id: a commit's
    full id, or the version of an archive, whose commit is made when it is fetched. `branch` is the branch or tag that
    was asked for, empty for a commit. `notice` tells the visitor about a courtesy.
    """

    provider: str
    spec: str
    repo_url: str
    ref: str
    ref_url: str
    slug: str
    branch: str = ""
    notice: str = ""

    def to_json(self) -> str:
        """The value as one JSON object; `from_json` reads it back."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Resolved:
        """Read what `to_json` wrote."""
        return cls(**json.loads(text))


class Fetcher(Protocol):
    """What brings repositories here. `fetch` raises a `BinderyError` that says what to mend."""

    async def fetch(self, resolved: Resolved, folder: Path, limits: FetchSettings, tell: Tell) -> str:
        """Bring it into a new bare Git repository at `folder`; returns the commit's id there.

        The same `ref` gives the same commit. Of `resolved` a build keeps `spec`, `repo_url`, `ref` and `ref_url` only.
        `tell` takes lines of progress. The folder's parent is the build's own, for what is needed meanwhile.
        """
        ...


class Provider(Fetcher, Protocol):
    """One kind of place where repositories live.

    `parse` is pure and raises `InvalidSpec` or `HostRefused`; `resolve` asks the place and raises a `BinderyError` that
    says what to mend, as `fetch` does. The spec is the raw, still percent-encoded text of the link.
    """

    @property
    def display(self) -> Mapping[str, Any]:
        """The provider's entry in `/api/repoproviders`; `id` is the link's prefix."""
        ...

    def parse(self, spec: str) -> ParsedSpec:
        """Read a spec."""
        ...

    async def resolve(self, parsed: ParsedSpec) -> Resolved:
        """Find what the spec points to now."""
        ...
