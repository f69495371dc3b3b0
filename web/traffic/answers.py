"""Answers that the traffic gives itself, without a session's server."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import NamedTuple

RETRY_AFTER = 3

_TEXTS = {
    400: "The request is malformed.",
    404: "There is no such session.",
    405: "This method is not allowed here.",
    408: "The request did not arrive in time.",
    421: "This session is at a host of its own.",
    424: "This session has ended.",
    431: "The request's headers are too long.",
    502: "The session's server gave no valid answer.",
    503: "The session's server does not answer at the moment. Try again in a few seconds.",
    504: "The session's server took too long to answer.",
    505: "This version of HTTP is not spoken here.",
}


class Answer(NamedTuple):
    """A whole response."""

    status: int
    content_type: str
    body: bytes
    headers: Mapping[str, str] = {}

    def encode(self, *, head_only: bool = False, close: bool = False) -> bytes:
        """The response's bytes."""
        lines = [
            f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}",
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(self.body)}",
            "Cache-Control: no-store",
            "X-Content-Type-Options: nosniff",
        ]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if self.status == HTTPStatus.SERVICE_UNAVAILABLE:
            lines.append(f"Retry-After: {RETRY_AFTER}")
        if close:
            lines.append("Connection: close")
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        return head if head_only else head + self.body


def plain(status: int, reason: str = "") -> Answer:
    """A one-sentence answer."""
    text = f"{_TEXTS[status]} ({reason})\n" if reason else f"{_TEXTS[status]}\n"
    return Answer(status, "text/plain; charset=utf-8", text.encode())


def plain_page(status: int) -> tuple[str, bytes]:
    """Content type and body of the one-sentence answer."""
    answer = plain(status)
    return answer.content_type, answer.body
