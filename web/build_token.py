"""Build tokens: a launch page proves with one that its visitor came through the page (protocol page 2.6)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import jwt
from starlette.requests import Request

from bindery.errors import InvalidBuildToken

_ALGORITHM = "HS256"


@dataclass(frozen=True)
class BuildTokens:
    """Makes and checks tokens (JWT, RFC 7519).

    A token is good for one `<provider>/<spec>`, trailing slashes aside, from one host, for a while.
    """

    secret: str
    expires_seconds: float
    check_origin: bool
    clock: Callable[[], float] = time.time

    def make(self, request: Request, link: str) -> str:
        """The token of a page."""
        claims = {
            "exp": int(self.clock() + self.expires_seconds),
            "aud": link.rstrip("/"),
            "origin": _host(request),
        }
        return jwt.encode(claims, self.secret, algorithm=_ALGORITHM)

    def check(self, request: Request, link: str, token: str) -> None:
        """Raise `InvalidBuildToken` unless the token is good for the link and the request's origin."""
        try:
            claims = jwt.decode(
                token, self.secret, algorithms=[_ALGORITHM], audience=link.rstrip("/"), options={"require": ["exp"]}
            )
        except jwt.ExpiredSignatureError:
            raise InvalidBuildToken("Invalid build token: it is too old.") from None
        except (jwt.InvalidTokenError, UnicodeError):
            raise InvalidBuildToken("Invalid build token") from None
        if self.check_origin and claims.get("origin") != _host(request):
            raise InvalidBuildToken("Invalid build token: it is another site's.")


def _host(request: Request) -> str:
    """Host and port of the page that asks: of its Origin, else of the address it asked."""
    origin = request.headers.get("origin", "")
    if origin and origin != "null":
        try:
            return urlsplit(origin).netloc.lower()
        except ValueError:
            return ""
    return request.headers.get("host", "").lower()
