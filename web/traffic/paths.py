"""Which session a request's target names.

The name is compared raw, never decoded, so that no spelling of one session's path can mean another's. What follows the
name is passed on byte for byte, or refused when its dot segments would climb above the session.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

_NAME = re.compile(rb"[A-Za-z0-9._~-]{1,255}")
_TARGET = re.compile(rb"/[!\"$-\[\]-~]*")


class PathRefused(ValueError):
    """The target is not one that may be passed on."""


def user_prefix(base_url: str) -> bytes:
    """The path below which all sessions lie: `<base_url>user/`."""
    base = base_url.strip("/")
    return f"/{base}/user/".encode() if base else b"/user/"


def check_target(target: bytes) -> None:
    """Refuse what is not a path with an optional query; backslashes may stand in the query only."""
    path, _, query = target.partition(b"?")
    if _TARGET.fullmatch(path) is None or _TARGET.fullmatch(b"/" + query.replace(b"\\", b"")) is None:
        raise PathRefused("invalid request target")


def session_name(target: bytes, prefix: bytes) -> str | None:
    """The session that a clean target names; None when it is not below the prefix; raises `PathRefused`."""
    if not target.startswith(prefix):
        return None
    path = target.partition(b"?")[0]
    if path == prefix:
        return None
    name, _, rest = path[len(prefix) :].partition(b"/")
    if _NAME.fullmatch(name) is None or name in (b".", b".."):
        raise PathRefused("not the name of a session")
    if b".." in rest or b"%" in rest:
        _check_depth(rest)
    return name.decode("ascii")


def _check_depth(rest: bytes) -> None:
    depth = 0
    for segment in unquote_to_bytes(rest).replace(b"\\", b"/").split(b"/"):
        if segment == b"..":
            depth -= 1
        elif segment not in (b"", b"."):
            depth += 1
        if depth < 0:
            raise PathRefused("the path leads out of the session")
