"""Names of images: never the same for two repositories, whatever their hosts are called."""

from __future__ import annotations

import hashlib
import re
import string
from dataclasses import dataclass

_UNSAFE = re.compile(r"[^a-z0-9]+")
_ALPHANUMERIC = frozenset(string.ascii_letters + string.digits)
#: Longest name of an image with everything before it, and what BinderHub adds to a slug.
_LONGEST = 255
_ADDED = 7

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


def binderhub_reference(prefix: str, slug: str, ref: str) -> str:
    """The image of one commit as BinderHub names it (protocol page 3.1): without provider, host and runtime."""
    escaped = "".join(each if each in _ALPHANUMERIC else _escaped(each) for each in slug)
    digest = hashlib.sha256(slug.encode()).hexdigest()[: _ADDED - 1]
    safe = f"{escaped[: _LONGEST - len(prefix) - _ADDED]}-{digest}"
    return f"{prefix}{safe}:{ref}".replace("_", "-").lower()


def _escaped(character: str) -> str:
    return "".join(f"-{byte:02x}" for byte in character.encode())


@dataclass(frozen=True)
class ImageNames:
    """How images are called. `prefix` stands before every name: a registry's host and path, with a slash at the end.

    `runtime` is the identity of everything outside of the repository that images depend on. With `binderhub`, names
    are those of a BinderHub whose `image_prefix` that was, and images may be there that no record tells of.
    """

    prefix: str
    runtime: str
    binderhub: str = ""

    def of(self, provider: str, repo_url: str, slug: str, ref: str) -> str:
        """The full name of the image of one commit."""
        if self.binderhub:
            # BinderHub's slug of a Git repository is its whole address.
            return binderhub_reference(self.binderhub, repo_url if provider == "git" else slug, ref)
        return self.prefix + image_reference(provider, repo_url, slug, ref, self.runtime)


def binderhub_prefix(image_prefix: str) -> str:
    """BinderHub's `image_prefix` with the registry's host, which it leaves out for Docker Hub."""
    host, slash, _ = image_prefix.partition("/")
    named = not slash or host == "localhost" or "." in host or ":" in host
    return image_prefix if named else f"docker.io/{image_prefix}"


def session_slug(repo_url: str) -> str:
    """The readable beginning of a session's name, from the repository's path (protocol page 4.1)."""
    path = re.sub(r"^[a-z]+://[^/]*/", "", repo_url.removesuffix(".git").lower())
    slug = safe_slug(path, 255)
    return slug if len(slug) <= 32 else f"{slug[:15].rstrip('-')}-{slug[-15:].lstrip('-')}"
