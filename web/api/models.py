"""What the API takes and gives, as its OpenAPI description says."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from builder import diagnosis
from db.builds import Build
from db.images import ImageRecord
from db.sessions import Session
from web.preview import Understood


class Wish(BaseModel):
    """What a build or a session is asked for with."""

    model_config = ConfigDict(extra="forbid")

    provider: str = Field(description="Prefix of the link, such as gh or git.", examples=["gh"], max_length=32)
    spec: str = Field(
        description="What follows the prefix in a link, percent-encoded as there.",
        examples=["binder-examples/requirements/HEAD"],
        max_length=4096,
    )


class Problem(BaseModel):
    """An error (RFC 9457); `code`, `hint` and `retryable` are as in the event stream."""

    type: str = Field("about:blank", description="Always about:blank: `code` tells errors apart.")
    title: str = Field(description="What happened, in a sentence.")
    status: int
    code: str = Field(description="Stable word for the kind of error.")
    hint: str = Field(description="What helps; may be empty.")
    retryable: bool = Field(description="Whether the same request may succeed later.")


class Failure(BaseModel):
    """Why a build or a session failed."""

    code: str
    message: str
    hint: str
    retryable: bool


class BuildRecord(BaseModel):
    """One build. Times are Unix seconds."""

    id: str
    state: str = Field(description="queued, fetching, planning, building, composing, built, failed or cancelled.")
    image: str
    provider: str
    spec: str = Field(description="The spec with the commit it was resolved to.")
    repo_url: str
    ref: str = Field(description="The commit.")
    ref_url: str
    attempt: int
    cancel_requested: bool
    plan: dict[str, Any] | None = Field(description="What the build does, once it is planned.")
    environment_key: str | None
    failure: Failure | None
    created_at: float
    started_at: float | None
    finished_at: float | None
    log_url: str = Field(description="The log as text.")
    events_url: str = Field(description="The log as an event stream.")

    @classmethod
    def of(cls, build: Build, base: str) -> BuildRecord:
        """The record of a row; `base` is the API's address."""
        own = f"{base}builds/{build.id}"
        return cls(
            **{name: getattr(build, name) for name in _BUILD_FIELDS},
            state=build.state.value,
            plan=json.loads(build.plan) if build.plan else None,
            failure=Failure(**build.failure.__dict__) if build.failure else None,
            log_url=f"{own}/log",
            events_url=f"{own}/events",
        )


_BUILD_FIELDS = (
    *("id", "image", "provider", "spec", "repo_url", "ref", "ref_url", "attempt", "cancel_requested"),
    "environment_key",
    *("created_at", "started_at", "finished_at"),
)


class PlanRecord(BaseModel):
    """How a repository is understood. With neither `plan` nor `failure` it is still being read."""

    provider: str
    spec: str = Field(description="The spec with the commit it was resolved to.")
    repo_url: str
    ref: str = Field(description="The commit.")
    ref_url: str
    plan: dict[str, Any] | None = Field(description="What a build does.")
    notes: list[str] = Field(description="Warnings of this service's engine.")
    failure: Failure | None = Field(description="What such a build would end with.")
    image_built: bool
    environment_built: bool

    @classmethod
    def of(cls, found: Understood) -> PlanRecord:
        """The record of what is known."""
        return cls(
            **{name: getattr(found.resolved, name) for name in ("provider", "spec", "repo_url", "ref", "ref_url")},
            plan=dict(found.plan) if found.plan is not None else None,
            notes=list(found.notes),
            failure=Failure(**found.failure.__dict__) if found.failure else None,
            image_built=found.image is not None,
            environment_built=found.environment is not None,
        )


class LogLine(BaseModel):
    """A line of a build's log, counted from 1."""

    number: int
    text: str


class Diagnosis(BaseModel):
    """Why a build failed, for the repository's author."""

    title: str = Field(description="What failed, in a few words.")
    cures: list[str] = Field(description="What helps.")
    lines: list[LogLine] = Field(description="The lines of the log that matter.")
    report_url: str = Field(description="A new report at the repository's host, filled in; empty where there is none.")

    @classmethod
    def of(cls, found: diagnosis.Diagnosis, report_url: str) -> Diagnosis:
        """The record of a diagnosis."""
        lines = [LogLine(number=line.number, text=line.text) for line in found.lines]
        return cls(title=found.title, cures=list(found.cures), lines=lines, report_url=report_url)


class SessionRecord(BaseModel):
    """One session. Whoever knows its id may read and end it, so the id is a secret. Times are Unix seconds."""

    id: str
    name: str
    state: str = Field(description="pending, starting, ready, stopping, stopped, failed or lost.")
    build_id: str | None = Field(description="The build it waits for, if its image was not there.")
    repo_url: str
    url: str | None = Field(description="Where the server is, once it is ready.")
    token: str | None = Field(description="What the server asks for, once it is ready.")
    failure: Failure | None
    stop_reason: str | None
    created_at: float
    ready_at: float | None
    active_at: float | None
    finished_at: float | None

    @classmethod
    def of(cls, session: Session) -> SessionRecord:
        """The record of a row."""
        ready = session.state.value == "ready"
        failed = session.error_code is not None
        return cls(
            **{name: getattr(session, name) for name in _SESSION_FIELDS},
            state=session.state.value,
            repo_url=session.request.get("repo_url", ""),
            url=session.url if ready else None,
            token=session.token if ready else None,
            failure=Failure(
                code=session.error_code or "",
                message=session.error_message or "",
                hint=session.error_hint or "",
                retryable=bool(session.error_retryable),
            )
            if failed
            else None,
        )


_SESSION_FIELDS = (
    *("id", "name", "build_id", "stop_reason"),
    *("created_at", "ready_at", "active_at", "finished_at"),
)


class Image(BaseModel):
    """One image. Times are Unix seconds."""

    reference: str
    environment_key: str
    repo_url: str
    ref: str
    created_at: float
    used_at: float

    @classmethod
    def of(cls, record: ImageRecord) -> Image:
        """The record of a row."""
        return cls(**record.__dict__)


class Outcomes(BaseModel):
    """How launches ended: with a server, by the repository's or the service's fault, or given up by their visitors."""

    ready: int
    repository: int
    service: int
    left: int


class LaunchTimes(BaseModel):
    """How long launches took that gave a server, in seconds."""

    count: int
    median: float
    p95: float
    p99: float


class LaunchesLately(BaseModel):
    """How launches went in a window of time."""

    since: float = Field(description="When the first slot begins, in Unix seconds.")
    slot_seconds: int
    outcomes: Outcomes
    success: float | None = Field(description="ready / (ready + service); null when there were none.")
    times: dict[str, LaunchTimes] = Field(description="By `known_image` and `after_build`.")
    slots: list[Outcomes]


class PopularRepository(BaseModel):
    """A repository that was launched often."""

    provider: str
    repo_url: str
    link: str = Field(description="Its link that was used most, below the service's address.")
    count: int


class Status(BaseModel):
    """The service at a glance."""

    version: str
    made_at: float = Field(description="When this was looked at, in Unix seconds.")
    healthy: bool
    builds: dict[str, int] = Field(description="Unfinished builds by state.")
    sessions: dict[str, int] = Field(description="Unfinished sessions by state.")
    targets: dict[str, float] = Field(description="What this service promises: `success` and `launch_seconds`.")
    launches: dict[str, LaunchesLately] = Field(description="How launches went in the last hour, day and week.")
    popular: list[PopularRepository] = Field(description="What was launched most in the last week.")
