"""One session's row: what it is asked for with, what it says, and the launch that its end was."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy.engine import RowMapping

from db.admission import Claim
from db.events import Event
from db.launches import Launch, Outcome
from db.line import Allowance, Waiting
from db.states import SESSION_ENDS, SessionState
from db.tables import sessions

_SUFFIX = "abcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True)
class SessionWanted:
    """What a session is asked for with.

    `slug` begins its name. `launch_host` is the service's own URL as the visitor sees it, with a trailing slash.
    `request` holds the fields of the protocol's `ready` event that are known before the server is. `repository` tells
    whose quota it counts for. `launch_event` is what the operator's log of launches says once it is ready.
    """

    slug: str
    image: str
    build_id: str | None
    launch_host: str
    request: Mapping[str, str]
    #: Whose it is: the hash of a browser's secret; None: nobody's who could come back for it.
    browser: str | None = None
    #: Host of the session's own, with `{name}` in it; empty: the service's.
    host: str = ""
    repository: str = ""
    allowance: Allowance = field(default_factory=Allowance)
    launch_event: str | None = None
    #: What its log begins with.
    first: Sequence[Event] = ()

    @property
    def claim(self) -> Claim:
        """What it needs a place of."""
        return Claim(self.repository, self.request.get("repo_url", ""), self.allowance.sessions)


@dataclass(frozen=True)
class Session:
    """One row. `id` is secret: whoever knows it may read the session's stream, token included; `name` is public."""

    id: str
    name: str
    token: str
    image: str
    build_id: str | None
    request: Mapping[str, str]
    launch_host: str
    repository: str
    allowance: Allowance
    launch_event: str | None
    state: SessionState
    last_seq: int
    address: str | None
    stop_reason: str | None
    error_code: str | None
    error_message: str | None
    error_hint: str | None
    error_retryable: bool | None
    created_at: float
    watched_at: float
    started_at: float | None
    ready_at: float | None
    opened_at: float | None
    active_at: float | None
    finished_at: float | None

    @property
    def ended(self) -> bool:
        """Whether nothing will happen to it any more."""
        return self.state in SESSION_ENDS

    @property
    def waiting(self) -> Waiting:
        """How it stands in line."""
        return Waiting(self.id, self.repository, self.allowance.sessions)

    @property
    def url(self) -> str:
        """Where the visitor reaches the server; ends with a slash."""
        return self.request.get("url") or f"{self.launch_host}user/{self.name}/"


COLUMNS = [sessions.c[field.name] for field in fields(Session)]
#: What a new row has in columns that nobody has written yet.
UNSET: Mapping[str, Any] = {**dict.fromkeys(each.name for each in fields(Session)), "last_seq": 0}


def new_row(wanted: SessionWanted, now: float) -> dict[str, Any]:
    """The row of a new session, with its name and its secrets."""
    name = f"{wanted.slug}-{''.join(secrets.choice(_SUFFIX) for _ in range(8))}"
    return {
        "id": secrets.token_urlsafe(16),
        "name": name,
        "token": secrets.token_urlsafe(16),
        "image": wanted.image,
        "build_id": wanted.build_id,
        "request": json.dumps({**wanted.request, **_own_url(wanted, name)}),
        "launch_host": wanted.launch_host,
        "browser": wanted.browser,
        "repository": wanted.repository,
        "allowance": json.dumps(asdict(wanted.allowance)),
        "launch_event": wanted.launch_event,
        "last_seq": len(wanted.first),
        "state": SessionState.PENDING,
        "created_at": now,
        "watched_at": now,
    }


def ended_launch(moved: Session, now: float) -> Launch | None:
    """The launch that ended as the session came to its present state."""
    if moved.state is SessionState.READY:
        outcome = Outcome.READY
    elif moved.ready_at is None and moved.state in (SessionState.FAILED, SessionState.STOPPED):
        outcome = Outcome.FAILED if moved.state is SessionState.FAILED else Outcome.LEFT
    else:
        return None
    link = moved.request.get("binder_request", "")
    return Launch(
        session=moved.name,
        ended_at=now,
        outcome=outcome,
        error_code=moved.error_code,
        seconds=now - moved.created_at,
        built=moved.build_id is not None,
        provider=link.removeprefix("v2/").partition("/")[0],
        repo_url=moved.request.get("repo_url", ""),
        link=link,
    )


def _own_url(wanted: SessionWanted, name: str) -> Mapping[str, str]:
    """The `url` of a session that has a host of its own."""
    if not wanted.host:
        return {}
    service = urlsplit(wanted.launch_host)
    return {"url": f"{service.scheme}://{wanted.host.replace('{name}', name)}{service.path}user/{name}/"}


def read_row(row: RowMapping | Mapping[str, Any]) -> Session:
    """The session that a row says."""
    read = {
        "state": SessionState(row["state"]),
        "request": json.loads(row["request"]),
        "allowance": _allowance(row["allowance"]),
    }
    return Session(**{**row, **read})


@lru_cache
def _allowance(text: str) -> Allowance:
    return Allowance(**json.loads(text))
