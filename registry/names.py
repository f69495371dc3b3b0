"""Names of images in registries, parsed strictly: nothing is taken for what it is not."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import urlsplit

from bindery.errors import InvalidImageReference

Scheme = Literal["https", "http"]

#: Docker Hub is named by one host, and answers at another.
DOCKER_HUB = "docker.io"
_DOCKER_HUB_API = "registry-1.docker.io"

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = re.compile(rf"(?P<name>{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{{1,5}}))?")
_PATH_PART = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_MAX_NAME = 255
_MAX_TEXT = 600


@dataclass(frozen=True)
class Repository:
    """A repository of a registry: `host` with its port, and the path of the name. Wrong ones cannot be made."""

    host: str
    path: str

    def __post_init__(self) -> None:
        _check_host(self.host)
        if not self.path or not all(_PATH_PART.fullmatch(part) for part in self.path.split("/")):
            raise _wrong(self.path, "an image's name has lower-case letters, digits and single . _ or - between them")
        if len(self.host) + 1 + len(self.path) > _MAX_NAME:
            raise _wrong(self.path, f"an image's name has at most {_MAX_NAME} characters")

    def __str__(self) -> str:
        return f"{self.host}/{self.path}"

    @property
    def api_host(self) -> str:
        """The host that answers for this registry."""
        return _DOCKER_HUB_API if self.host == DOCKER_HUB else self.host


@dataclass(frozen=True)
class Reference:
    """An image, `host[:port]/path[:tag][@digest]`. Wrong ones cannot be made."""

    repository: Repository
    tag: str | None = None
    digest: str | None = None

    def __post_init__(self) -> None:
        if self.tag is not None:
            check_tag(self.tag)
        if self.digest is not None:
            check_digest(self.digest)

    @classmethod
    def parse(cls, text: str) -> Reference:
        """The reference that `text` names; raises `InvalidImageReference`.

        The host must be there: it has a dot or a port, or is `localhost`.
        """
        if len(text) > _MAX_TEXT:
            raise _wrong(text, "it is too long")
        name, at, digest = text.partition("@")
        host, slash, rest = name.partition("/")
        if not slash or not (host == "localhost" or re.search(r"[.:]", host)):
            raise _wrong(
                text, "it does not begin with a registry's host, such as docker.io/library/ or localhost:5000/"
            )
        path, colon, tag = rest.partition(":")
        if host == DOCKER_HUB and "/" not in path:
            path = f"library/{path}"
        return cls(Repository(host, path), tag if colon else None, digest if at else None)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag is not None else ""
        return f"{self.repository}{tag}" + (f"@{self.digest}" if self.digest is not None else "")

    @property
    def identifier(self) -> str:
        """What the registry is asked for: the digest, else the tag, else `latest`."""
        return self.digest or self.tag or "latest"

    def with_digest(self, digest: str) -> Reference:
        """The image of this digest in the same repository, whatever its tag."""
        return replace(self, tag=None, digest=digest)


@dataclass(frozen=True)
class Location:
    """Where a service keeps its images: a registry, a path in front of all names, and how to speak to it."""

    host: str
    prefix: str = ""
    #: None: https, or http on loopback.
    scheme: Scheme | None = None

    @classmethod
    def parse(cls, text: str) -> Location:
        """The location of `host[:port][/prefix]`, with or without `https://` or `http://`."""
        scheme, separator, rest = text.rpartition("://")
        if separator and scheme not in ("https", "http"):
            raise _wrong(text, "a registry's URL begins with https:// or http://")
        try:
            parts = urlsplit(f"//{rest}")
        except ValueError:
            raise _wrong(text, "that is no URL of a registry") from None
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise InvalidImageReference(
                "A registry's URL has a host and a path only.", hint="Logins belong in Docker's config.json."
            )
        location = cls(parts.netloc, parts.path.strip("/"), scheme or None)  # type: ignore[arg-type]
        location.repository("x")
        return location

    @property
    def root(self) -> str:
        """What the names of its repositories begin with, without a slash at the end."""
        return f"{self.host}/{self.prefix}" if self.prefix else self.host

    def repository(self, name: str) -> Repository:
        """The repository of this name below the prefix."""
        return Repository(self.host, f"{self.prefix}/{name}" if self.prefix else name)

    def reference(self, name_and_tag: str) -> Reference:
        """The image `name:tag` below the prefix."""
        name, colon, tag = name_and_tag.partition(":")
        return Reference(self.repository(name), tag if colon else None)


def check_tag(tag: str) -> str:
    """The tag itself, if it is one; raises `InvalidImageReference`."""
    if not _TAG.fullmatch(tag):
        raise _wrong(tag, "a tag has up to 128 letters, digits, . _ and -, and begins with none of . and -")
    return tag


def check_digest(digest: str) -> str:
    """The digest itself, if it is one that can be verified; raises `InvalidImageReference`."""
    if not _DIGEST.fullmatch(digest):
        raise _wrong(digest, "a digest is sha256: and 64 hexadecimal digits, or sha512: and 128")
    return digest


def is_loopback(host: str) -> bool:
    """Whether a host, with or without a port, is this machine by its very name."""
    match = _HOST.fullmatch(host)
    name = (match["name"] if match else host).strip("[]").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _check_host(host: str) -> None:
    match = _HOST.fullmatch(host)
    if match is None or (match["port"] is not None and not 0 < int(match["port"]) < 65536):
        raise _wrong(host, "that is no host")
    if match["name"].startswith("["):
        try:
            ipaddress.IPv6Address(match["name"].strip("[]"))
        except ValueError:
            raise _wrong(host, "that is no IPv6 address") from None


def _wrong(text: str, why: str) -> InvalidImageReference:
    return InvalidImageReference(f"{text[:100]!r} is not part of an image reference: {why}.")
