"""Hugging Face: `<percent-encoded repository>/<ref>`; it is `spaces/o/n`, `datasets/o/n` or a model's `o/n`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from bindery.errors import InvalidSpec
from bindery.settings import ProviderSettings
from builder import refs
from builder.guard import GuardedClient
from builder.providers.base import ParsedSpec, Resolved
from builder.providers.forge import is_name
from builder.providers.over_git import OverGit, found

_KINDS = ("spaces", "datasets")


@dataclass(frozen=True)
class HuggingFaceProvider(OverGit):
    """Spaces, datasets and models. Large files are pointers: Git LFS is not followed."""

    client: GuardedClient
    url: str
    timeout_seconds: float

    @property
    def display(self) -> Mapping[str, Any]:
        """See `Provider.display`."""
        host = self.url.rstrip("/").partition("://")[2]
        return {
            "displayName": "Hugging Face",
            "id": "hf",
            "spec": {"validateRegex": r"[^/]+/.+"},
            "detect": {"regex": rf"^(https?://{re.escape(host)}/)?(?<repo>.*?)/?$"},
            "repo": {
                "label": "Hugging Face repository name or URL",
                "placeholder": "example: spaces/owner/name or https://huggingface.co/datasets/owner/name",
                "urlEncode": True,
            },
            "ref": {"enabled": True, "default": "HEAD"},
        }

    def parse(self, spec: str) -> ParsedSpec:
        """Read an encoded repository and a ref."""
        encoded, _, ref = spec.partition("/")
        name = unquote(encoded).strip("/").removeprefix("models/").removesuffix(".git")
        parts = name.split("/")
        wanted = 3 if parts[0] in _KINDS else 2
        if not ref or len(parts) != wanted:
            raise InvalidSpec(
                f'Spec is not of the form "<url-encoded repository>/<ref>", provided: "{spec}".',
                hint="A link looks like /v2/hf/spaces%2Fowner%2Fname/HEAD.",
            )
        if not all(is_name(part) for part in parts):
            raise InvalidSpec(
                f"{name} cannot be a Hugging Face repository.",
                hint="Names have letters, digits, '.', '_' and '-' only.",
            )
        return ParsedSpec("hf", spec, f"{self.url.rstrip('/')}/{name}", refs.check(unquote(ref)), "-".join(parts))

    async def resolve(self, parsed: ParsedSpec) -> Resolved:
        """Find the commit. A `main` or `master` that is gone means the default branch, with a notice."""
        commit = await self.find(parsed)
        name = quote(parsed.repo_url.removeprefix(self.url.rstrip("/") + "/"), safe="")
        return found(parsed, commit, f"{name}/{commit.commit}", f"{parsed.repo_url}/tree/{commit.commit}")


def provider(settings: ProviderSettings, client: GuardedClient) -> HuggingFaceProvider:
    """The entry point."""
    return HuggingFaceProvider(client, settings.hf.url, settings.resolve_timeout_seconds)
