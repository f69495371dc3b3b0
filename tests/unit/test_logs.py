"""The service's own log."""

from __future__ import annotations

import errno
import io
import logging
import sys
from collections.abc import Iterator

import pytest
import structlog

from bindery import logs


class TerminalIsGone(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(errno.EIO, "Input/output error")

    def flush(self) -> None:
        raise OSError(errno.EIO, "Input/output error")


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(logging.root, "handlers", [])
    yield
    structlog.reset_defaults()


@pytest.mark.parametrize("as_json", [False, True])
def test_a_line_is_written_at_once(monkeypatch: pytest.MonkeyPatch, as_json: bool) -> None:
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    logs.configure(as_json=as_json)
    structlog.get_logger().info("session.stopped", session="s")
    assert "session.stopped" in written.getvalue()


def test_a_log_that_cannot_be_written_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", gone := TerminalIsGone())
    logs.configure(as_json=False)
    structlog.get_logger().info("session.stopped", session="s")
    assert gone.getvalue() == ""
