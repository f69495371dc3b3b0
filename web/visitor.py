"""What a request says about its visitor; every header is hostile."""

from __future__ import annotations

import contextlib
import re
import secrets
from urllib.parse import urlsplit

from starlette.requests import Request

from web.launch_events import Origins

_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}(:\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:\d{1,5})?")

#: Longer origins are cut: they come from a header.
_LONGEST = 300


def raw_tail(request: Request, prefix: str) -> str:
    """What follows `prefix` in the path, still percent-encoded, so that `%2F` survives."""
    raw = request.scope.get("raw_path") or request.scope["path"].encode()
    path = bytes(raw).decode("ascii", errors="replace").partition("?")[0]
    return path[len(prefix) :] if path.startswith(prefix) else ""


def launch_host(request: Request, base_url: str) -> str:
    """The service's own URL as the visitor wrote it, with a trailing slash; an odd Host header is not believed."""
    host = request.headers.get("host", "")
    if not _HOST.fullmatch(host):
        server = request.scope.get("server") or ("localhost", None)
        host = f"{server[0]}:{server[1]}" if server[1] else str(server[0])
    scheme = "https" if request.url.scheme == "https" else "http"
    return f"{scheme}://{host}{base_url}"


def client_ip(request: Request) -> str:
    """The address the request came from; behind a trusted proxy the server has put the visitor's there."""
    return request.client.host if request.client else ""


def origins(request: Request) -> Origins:
    """Where a launch was asked for."""
    header = request.headers.get("origin", "")
    with contextlib.suppress(ValueError):
        host = urlsplit(header).netloc.lower() or request.headers.get("host", "").lower()
        asked_by = header or request.headers.get("sec-fetch-site", "")
        return Origins(host[:_LONGEST], asked_by[:_LONGEST], bool(request.query_params.get("build_token")))
    return Origins()


def accepts(request: Request, wanted: str) -> bool:
    """Whether an Accept header, a list with parameters, names the media type; no header accepts anything."""
    header = request.headers.get("accept", "*/*")
    names = {part.partition(";")[0].strip().lower() for part in header.split(",")}
    return bool(names & {wanted, f"{wanted.partition('/')[0]}/*", "*/*"})


def prefers_json(request: Request) -> bool:
    """Whether an Accept header names JSON and no web page."""
    header = request.headers.get("accept", "").lower()
    return "application/json" in header and "text/html" not in header


def is_operator(request: Request, token: str) -> bool:
    """Whether the request carries the token that only the operator of this machine can read."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    return bool(token) and scheme.lower() == "bearer" and secrets.compare_digest(given.encode(), token.encode())
