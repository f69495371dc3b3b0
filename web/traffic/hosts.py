"""Which host a session may be asked for at, where each has its own: there no other one's pages are the same origin."""

from __future__ import annotations

from web.traffic.head import RequestHead

_NAME = "{name}"


def is_at_home(name: str, head: RequestHead, pattern: str, *, trusted: bool) -> bool:
    """Whether the session may be asked for at the request's host.

    `pattern` has `{name}` in it, and is empty where all share one. Ports do not count: proxies tell them or not.

    A page can send any `X-Forwarded-Host`, and no other `Host` than its own. So what a trusted proxy says counts only
    where it has replaced `Host` by a name of its own, and then what it said last.
    """
    if not pattern:
        return True
    own = _bare(pattern.encode())
    host = _bare(head.value(b"host"))
    said = [value for lower, _, value in head.fields if lower == b"x-forwarded-host"]
    if trusted and said and not host.endswith(own.partition(_NAME.encode())[2]):
        host = _bare(said[-1].rpartition(b",")[2].strip())
    return host == own.replace(_NAME.encode(), name.lower().encode())


def _bare(host: bytes) -> bytes:
    """A host without its port."""
    return host.lower() if host.endswith(b"]") else (host.rpartition(b":")[0] or host).lower()
