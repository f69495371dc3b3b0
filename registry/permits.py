"""What a build may do with images: permits as tokens that every worker of a service can check."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jwt
from yarl import URL

from bindery.errors import RegistryRefused

_ALGORITHM = "HS256"
_PERMIT, _UPLOAD = "permit", "upload"
#: Longest time, in seconds, between two requests of one upload.
_UPLOAD_SECONDS = 3600


@dataclass(frozen=True)
class Permit:
    """Images of one registry: those that may be written, which may be read too, and others that may be read.

    Each is `path:tag`, or `path` for all of a repository, as strangers' images share repositories.
    """

    pushes: frozenset[str]
    pulls: frozenset[str] = frozenset()

    def allows(self, path: str, tag: str | None = None, *, push: bool) -> bool:
        """Whether an image may be read, or written; without a tag, whether anything of its repository may.

        Blobs have no tags, and who names a digest knows already what it is of.
        """
        names = self.pushes if push else self.pushes | self.pulls
        if tag is not None:
            return not names.isdisjoint((path, f"{path}:{tag}"))
        return any(name.partition(":")[0] == path for name in names)


class Permits:
    """Makes and checks tokens (JWT, RFC 7519) with a key of its own that is made from a service's secret."""

    def __init__(self, secret: str, clock: Callable[[], float] = time.time) -> None:
        self._key = hmac.digest(secret.encode(), b"permits of builds", "sha256")
        self._clock = clock

    def issue(self, permit: Permit, seconds: float) -> str:
        """A token that is good for so many seconds."""
        return self._sign(_PERMIT, seconds, push=sorted(permit.pushes), pull=sorted(permit.pulls))

    def read(self, token: str) -> Permit:
        """The permit of a token; raises `RegistryRefused` when it is none, or too old."""
        claims = self._claims(_PERMIT, token)
        return Permit(frozenset(claims["push"]), frozenset(claims["pull"]))

    def seal(self, path: str, place: URL) -> str:
        """Where an upload into a repository goes on, in a form that nobody else can make."""
        return self._sign(_UPLOAD, _UPLOAD_SECONDS, path=path, place=str(place))

    def unseal(self, path: str, sealed: str) -> URL:
        """What was sealed for this repository; raises `RegistryRefused` when it was not."""
        claims = self._claims(_UPLOAD, sealed)
        if claims["path"] != path:
            raise RegistryRefused("This upload is another repository's.")
        return URL(claims["place"], encoded=True)

    def _sign(self, kind: str, seconds: float, **claims: object) -> str:
        return jwt.encode({"aud": kind, "exp": int(self._clock() + seconds), **claims}, self._key, algorithm=_ALGORITHM)

    def _claims(self, kind: str, token: str) -> dict[str, Any]:
        try:
            claims: dict[str, Any] = jwt.decode(
                token, self._key, algorithms=[_ALGORITHM], audience=kind, options={"require": ["exp"]}
            )
        except (jwt.InvalidTokenError, UnicodeError):
            raise RegistryRefused("This permit is none, or it is too old.") from None
        return claims
