"""Which host a session may be asked for at, where each has its own: there no other one's pages are the same origin."""

from __future__ import annotations

from web.traffic.head import RequestHead

_NAME = "{name}"


def named_host(head: RequestHead, *, trusted: bool) -> bytes:
    """The host that the visitor's browser named, without its port; a trusted proxy says it in a header of its own.

    Where several proxies said one after another, the first of them heard the visitor.
    """
    said = head.value(b"x-forwarded-host").partition(b",")[0].strip() if trusted else b""
    host = (said or head.value(b"host")).lower()
    return host if host.endswith(b"]") else host.rpartition(b":")[0] or host


def is_at_home(name: str, host: bytes, pattern: str) -> bool:
    """Whether the session may be asked for at the host; `pattern` has `{name}` in it, and is empty where all share one.

    Ports do not count: proxies tell them or not, and all of them lead to the same session.
    """
    own = pattern.rpartition(":")[0] or pattern
    return not pattern or host == own.replace(_NAME, name).lower().encode()
