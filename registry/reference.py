"""Names of images: never the same for two repositories, whatever their hosts are called."""

from __future__ import annotations

import hashlib
import re

_UNSAFE = re.compile(r"[^a-z0-9]+")
#: Readable characters of the slug that a name keeps; the digest makes it unique.
_SLUG_LENGTH = 60


def safe_slug(slug: str, length: int = _SLUG_LENGTH) -> str:
    """Lower-case letters, digits and single dashes, neither first nor last a dash; never empty."""
    return _UNSAFE.sub("-", slug.lower())[:length].strip("-") or "x"


def image_reference(provider: str, repo_url: str, slug: str, ref: str, runtime: str) -> str:
    """The image of one commit, `name:tag`, on one runtime.

    The name has the provider and a digest of provider and repository URL, host included; the tag is the immutable id
    and a digest of `runtime`, everything outside of the repository that images depend on.
    """
    identity = hashlib.sha256(f"{provider}\n{repo_url}".encode()).hexdigest()
    below = hashlib.sha256(runtime.encode()).hexdigest()
    return f"{provider}-{safe_slug(slug)}-{identity[:10]}:{safe_slug(ref, 100)}-{below[:8]}"


def session_slug(repo_url: str) -> str:
    """The readable beginning of a session's name, from the repository's path (protocol page 4.1)."""
    path = re.sub(r"^[a-z]+://[^/]*/", "", repo_url.removesuffix(".git").lower())
    slug = safe_slug(path, 255)
    return slug if len(slug) <= 32 else f"{slug[:15].rstrip('-')}-{slug[-15:].lstrip('-')}"
