"""Heads of requests and responses: read strictly, rewritten once.

Promises:

- a head that two servers could read differently is refused: both lengths, more than one length, bare line feeds, folded
  lines, other targets than paths, no or several hosts;
- headers that concern one connection only are not passed on, those that `Connection` names included;
- who the visitor is (`X-Forwarded-*`, `X-Real-IP`, `X-Scheme`, `Forwarded`) is said by this service alone, unless the
  peer is a trusted proxy.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

import httptools

from web.traffic.framing import CHUNKED, UNTIL_CLOSE
from web.traffic.paths import PathRefused, check_target

#: Name in lower case, name and value as sent.
Field = tuple[bytes, bytes, bytes]

_HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    )
)
_IDENTITY = frozenset((b"x-real-ip", b"x-scheme", b"forwarded"))
_FRAMING = frozenset((b"content-length", b"transfer-encoding", b"host"))
_POLICY = b"content-security-policy"
_ANCESTORS = re.compile(rb"frame-ancestors[^;,]*", re.IGNORECASE)
_HOST = re.compile(rb"[A-Za-z0-9._~%!$&'()*+,;=:\[\]-]*")
_METHODS_WITHOUT_EFFECT = frozenset((b"GET", b"HEAD", b"OPTIONS"))


class BadHead(ValueError):
    """The head breaks the rules; `status` is the answer to a visitor who sent it."""

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.status = status


class RequestHead(NamedTuple):
    """What a visitor asks for; `length` as `framing.body_of` takes it."""

    method: bytes
    target: bytes
    http11: bool
    fields: list[Field]
    named: frozenset[bytes]
    length: int
    keep_alive: bool
    websocket: bool

    @property
    def repeatable(self) -> bool:
        """Whether the request may be sent a second time after a connection broke."""
        return self.length == 0 and self.method in _METHODS_WITHOUT_EFFECT and not self.websocket

    def value(self, name: bytes) -> bytes:
        """A header's first value, empty when there is none."""
        return next((value for lower, _, value in self.fields if lower == name), b"")


class ResponseHead(NamedTuple):
    """What a session's server answers."""

    status: int
    reason: bytes
    fields: list[Field]
    named: frozenset[bytes]
    length: int
    keep_alive: bool


class _Collector:
    """Receives a parser's headers."""

    __slots__ = ("fields",)

    def __init__(self) -> None:
        self.fields: list[Field] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), name, value.rstrip(b" \t")))


class _Facts:
    """What the headers say about connection and length."""

    __slots__ = ("encodings", "hosts", "lengths", "named", "upgrade")

    def __init__(self, fields: Iterable[Field]) -> None:
        self.hosts: list[bytes] = []
        self.lengths: list[bytes] = []
        self.encodings: list[bytes] = []
        self.named: frozenset[bytes] = frozenset()
        self.upgrade = b""
        for lower, _, value in fields:
            if lower == b"connection":
                self.named |= {token.strip(b" \t") for token in value.lower().split(b",")}
            elif lower == b"content-length":
                self.lengths.append(value)
            elif lower == b"transfer-encoding":
                self.encodings.append(value.lower())
            elif lower == b"host":
                self.hosts.append(value)
            elif lower == b"upgrade":
                self.upgrade += value.lower()

    def length(self, default: int) -> int:
        """The body's length; exactly one of the two headers may speak of it."""
        if self.encodings:
            if self.lengths or self.encodings != [b"chunked"]:
                raise BadHead("ambiguous length of the body")
            return CHUNKED
        if not self.lengths:
            return default
        value = self.lengths[0]
        if len(self.lengths) > 1 or not value.isdigit() or len(value) > 18:
            raise BadHead("invalid Content-Length")
        return int(value)


def parse_request(raw: bytes) -> RequestHead:
    """Read a request's head, which ends with its empty line; raises `BadHead`."""
    parts = raw[: raw.index(b"\r\n")].split(b" ")
    if len(parts) != 3 or parts[2] not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise BadHead("invalid request line", 505 if len(parts) == 3 and parts[2].startswith(b"HTTP/") else 400)
    method, target, version = parts
    fields = _parse_fields(raw, request=True)
    facts = _Facts(fields)
    http11 = version == b"HTTP/1.1"
    _check_request(method, target, http11, facts)
    length = facts.length(0)
    upgrade = http11 and b"upgrade" in facts.named and facts.upgrade == b"websocket"
    if upgrade and (length or method != b"GET"):
        raise BadHead("a WebSocket starts with a GET request without a body")
    keep_alive = http11 and b"close" not in facts.named
    return RequestHead(method, target, http11, fields, facts.named, length, keep_alive, upgrade)


def _check_request(method: bytes, target: bytes, http11: bool, facts: _Facts) -> None:
    if method == b"CONNECT":
        raise BadHead("this service is not a forward proxy", 405)
    if not (method == b"OPTIONS" and target == b"*"):
        try:
            check_target(target)
        except PathRefused as refused:
            raise BadHead(str(refused)) from None
    if len(facts.hosts) > 1 or (http11 and not facts.hosts) or (facts.hosts and not _HOST.fullmatch(facts.hosts[0])):
        raise BadHead("exactly one valid Host is needed")
    if facts.encodings and not http11:
        raise BadHead("Transfer-Encoding needs HTTP/1.1")
    if facts.named & _FRAMING:
        raise BadHead("Connection names a header that may not be dropped")


def parse_response(raw: bytes, *, method: bytes) -> ResponseHead:
    """Read the head of the response to a request of that method; raises `BadHead`."""
    line = raw[: raw.index(b"\r\n")]
    version, code, reason = line[:8], line[9:12], line[13:]
    if version not in (b"HTTP/1.1", b"HTTP/1.0") or line[8:9] != b" " or not code.isdigit() or code < b"100":
        raise BadHead("invalid status line")
    fields = _parse_fields(raw, request=False)
    facts = _Facts(fields)
    status = int(code)
    length = facts.length(UNTIL_CLOSE)
    if method == b"HEAD" or status in (204, 304) or status < 200:
        length = 0
    keep_alive = b"close" not in facts.named if version == b"HTTP/1.1" else b"keep-alive" in facts.named
    return ResponseHead(status, reason, fields, facts.named, length, keep_alive and length != UNTIL_CLOSE)


def _parse_fields(raw: bytes, *, request: bool) -> list[Field]:
    collector = _Collector()
    parser = httptools.HttpRequestParser(collector) if request else httptools.HttpResponseParser(collector)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as error:
        raise BadHead(str(error)) from None
    return collector.fields


def forwarded_request(head: RequestHead, identity: bytes, *, trusted: bool) -> bytes:
    """The head as the session's server gets it; `identity` are the lines of `identity_lines`."""
    lines = [head.method, b" ", head.target, b" HTTP/1.1\r\n" if head.http11 else b" HTTP/1.0\r\n"]
    named = head.named
    for lower, name, value in head.fields:
        if lower in _HOP_BY_HOP or lower in named or _is_identity(lower):
            continue
        lines += (name, b": ", value, b"\r\n")
    lines.append(_trusted_identity(head, identity) if trusted else identity)
    if not trusted:
        lines += (b"X-Forwarded-Host: ", head.value(b"host"), b"\r\n")
    if head.length == CHUNKED:
        lines.append(b"Transfer-Encoding: chunked\r\n")
    if head.websocket:
        lines.append(b"Connection: Upgrade\r\nUpgrade: websocket\r\n")
    elif not head.http11:
        lines.append(b"Connection: close\r\n")
    lines.append(b"\r\n")
    return b"".join(lines)


def _is_identity(lower: bytes) -> bool:
    return lower.startswith(b"x-forwarded-") or lower in _IDENTITY


def identity_lines(peer: str, scheme: str) -> bytes:
    """Who the visitor is, as far as the connection tells."""
    address = f"X-Forwarded-For: {peer}\r\n" if peer else ""
    return f"{address}X-Forwarded-Proto: {scheme}\r\n".encode("ascii")


def _trusted_identity(head: RequestHead, identity: bytes) -> bytes:
    """What a trusted proxy said, with its own address appended to the chain."""
    own = dict(line.split(b": ", 1) for line in identity.split(b"\r\n") if line)
    chain = [value for lower, _, value in head.fields if lower == b"x-forwarded-for" and value]
    if b"X-Forwarded-For" in own:
        chain.append(own[b"X-Forwarded-For"])
    said = {
        b"X-Forwarded-For": b", ".join(chain),
        b"X-Forwarded-Proto": head.value(b"x-forwarded-proto") or own[b"X-Forwarded-Proto"],
        b"X-Forwarded-Host": head.value(b"x-forwarded-host") or head.value(b"host"),
    }
    return b"".join(b"%b: %b\r\n" % item for item in said.items() if item[1])


def service_request(raw: bytes, head: RequestHead) -> bytes:
    """The head for the service itself: as it was, but never an upgrade, which the service does not offer."""
    if b"upgrade" not in head.named:
        return raw
    lines = [raw[: raw.index(b"\r\n") + 2]]
    for lower, name, value in head.fields:
        if lower not in (b"upgrade", b"connection"):
            lines += (name, b": ", value, b"\r\n")
    lines.append(b"\r\n" if head.keep_alive else b"Connection: close\r\n\r\n")
    return b"".join(lines)


def framed(head: ResponseHead, ancestors: bytes) -> ResponseHead:
    """The response's head with those who may show it in a frame in its policy; one that restricts nobody stays."""
    fields = [
        (lower, name, _ANCESTORS.sub(b"frame-ancestors " + ancestors, value))
        if lower == _POLICY
        else (lower, name, value)
        for lower, name, value in head.fields
    ]
    return head._replace(fields=fields)


def varied(head: ResponseHead) -> ResponseHead:
    """The response's head, telling caches that another origin may get another one."""
    return head._replace(fields=[*head.fields, (b"vary", b"Vary", b"Origin")])


def answered_head(head: ResponseHead, *, chunk: bool = False, close: bool = False) -> bytes:
    """The response's head as the visitor gets it; `chunk`: the body is put into chunks on the way."""
    lines = [b"HTTP/1.1 %d " % head.status, head.reason, b"\r\n"]
    named, bodiless = head.named, head.status == 204 or head.status < 200
    for lower, name, value in head.fields:
        if lower in _HOP_BY_HOP or lower in named or (bodiless and lower == b"content-length"):
            continue
        lines += (name, b": ", value, b"\r\n")
    if chunk or head.length == CHUNKED:
        lines.append(b"Transfer-Encoding: chunked\r\n")
    if head.status == 101:
        lines.append(b"Connection: Upgrade\r\nUpgrade: websocket\r\n")
    elif close:
        lines.append(b"Connection: close\r\n")
    lines.append(b"\r\n")
    return b"".join(lines)
