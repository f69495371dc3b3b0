"""Which browser a visitor comes back with: a secret in a cookie, so that it finds its own sessions again.

There are no accounts. The rows know only the secret's hash. The cookie is never sent to a session's server: it has the
paths of the pages that need it, and none of them is above `/user/`.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets

from starlette.requests import Request
from starlette.responses import Response

COOKIE = "bindery-browser"
#: Where the cookie is sent, below the service's address: where it is set, where launches begin, where they are listed.
PATHS = ("v2", "build", "sessions")
#: How a program says the secret that it finds its own sessions again by.
CLIENT_HEADER = "Bindery-Client"
_LIFE_SECONDS = 30 * 86400
_SECRET = re.compile(r"[A-Za-z0-9_-]{32,64}")


def secret_of(request: Request) -> str:
    """The browser's secret; empty for one that has none."""
    given = request.cookies.get(COOKIE, "")
    return given if _SECRET.fullmatch(given) else ""


def browser_of(request: Request) -> str | None:
    """What the rows know the browser by."""
    secret = secret_of(request)
    return hashlib.sha256(secret.encode()).hexdigest() if secret else None


def client_of(request: Request) -> str | None:
    """What the rows know a program by that says its own secret; cookies are for browsers, and never sent there."""
    given = request.headers.get(CLIENT_HEADER, "")
    return hashlib.sha256(given.encode()).hexdigest() if _SECRET.fullmatch(given) else None


def remember(request: Request, response: Response, base_url: str) -> Response:
    """Give a browser its secret, or make the one it has last longer."""
    secret = secret_of(request) or secrets.token_urlsafe(24)
    for path in PATHS:
        response.set_cookie(
            COOKIE,
            secret,
            max_age=_LIFE_SECONDS,
            path=base_url + path,
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="lax",
        )
    return response


def proof(secret: str, session_name: str) -> str:
    """What a form carries that may end a session: only a page that the browser itself asked for can have it."""
    return hmac.new(secret.encode(), f"stop:{session_name}".encode(), hashlib.sha256).hexdigest()


def proven(secret: str, session_name: str, given: str) -> bool:
    """Whether a form's proof is right."""
    return bool(secret) and hmac.compare_digest(proof(secret, session_name), given)
