"""Launch events: one JSON line for each launch that succeeds, as archives of such services have them (page 5.2)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from builder.providers.base import Resolved
from db.sessions import Session
from db.states import SessionState

log = structlog.get_logger(__name__)

SCHEMA = "binderhub.jupyter.org/launch"
VERSION = 6
#: In place of a file: the service's own log.
OWN_LOG = "-"

#: Providers that the schema knows by other names than visitors do.
_PROVIDERS = {
    "gh": "GitHub",
    "gist": "Gist",
    "gl": "GitLab",
    "git": "Git",
    "zenodo": "Zenodo",
    "figshare": "Figshare",
    "hydroshare": "Hydroshare",
    "dataverse": "Dataverse",
    "ckan": "CKAN",
}


@dataclass(frozen=True)
class Origins:
    """Where a launch was asked for: the asking page's host, its Origin header, and whether it came with a token."""

    host: str = ""
    header: str = ""
    build_token: bool = False


def describe(provider: str, spec: str, resolved: Resolved, origins: Origins) -> str:
    """The event of a launch, as JSON; its time is that of its success."""
    event = {
        "schema": SCHEMA,
        "version": VERSION,
        "provider": _PROVIDERS.get(provider, provider),
        "spec": spec,
        "ref": resolved.ref,
        "status": "success",
        "build_token": origins.build_token,
        "origin": origins.host,
        "request_origin": origins.header,
    }
    return json.dumps(event)


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass
class LaunchLog:
    """Writes events to a file, or to the service's log; never in the event loop's way. A full disk stops no launch."""

    target: str
    clock: Callable[[], datetime] = _now
    _writer: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "launch-log"))

    def observe(self, session: Session, state: SessionState) -> None:
        """A session went to a state."""
        if state is not SessionState.READY or session.launch_event is None:
            return
        event = {"timestamp": self.clock().strftime("%Y-%m-%dT%H:%M:%S.%fZ"), **json.loads(session.launch_event)}
        if self.target == OWN_LOG:
            log.info("launch.succeeded", **event)
        else:
            asyncio.get_running_loop().run_in_executor(self._writer, _append, Path(self.target), event)

    def close(self) -> None:
        """Write what is left."""
        self._writer.shutdown()


def _append(path: Path, event: Mapping[str, Any]) -> None:
    try:
        with path.open("a") as file:
            file.write(json.dumps(event) + "\n")
    except OSError:
        log.exception("launch_log.not_written", path=str(path))
