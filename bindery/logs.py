"""The service's own log: structured, to standard error, for people or as JSON lines."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TextIO, cast

import structlog


class Log:
    """A file for log lines. One that cannot be written any more, as its terminal or disk is gone, stops no work."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> None:
        """Write what can be written."""
        with contextlib.suppress(OSError):
            self._file.write(text)

    def flush(self) -> None:
        """Hand on what can be handed on."""
        with contextlib.suppress(OSError):
            self._file.flush()


def configure(*, as_json: bool, least: int = logging.INFO) -> None:
    """Set up structlog for events of the level `least` and above, and hand on what libraries log from warnings on."""
    # Plain tracebacks: pretty ones print local variables, tokens among them.
    for_people = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
    )
    renderer = structlog.processors.JSONRenderer() if as_json else for_people
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info if as_json else structlog.processors.StackInfoRenderer(),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, Log(sys.stderr))),
    )
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", force=True)
