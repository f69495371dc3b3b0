"""The tables. Times are Unix seconds; JSON is text; enum columns hold the words of `db.states`."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    text,
)

from db.states import BUILD_ENDS

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: Which builds have not ended, as the condition of an index.
UNFINISHED = "state NOT IN ({})".format(", ".join(f"'{state}'" for state in sorted(BUILD_ENDS)))

builds = Table(
    "builds",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("image", String(512), nullable=False),
    Column("provider", String(32), nullable=False),
    Column("spec", Text, nullable=False),
    Column("repo_url", Text, nullable=False),
    Column("ref", String(128), nullable=False),
    Column("ref_url", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("lease_owner", String(64)),
    Column("lease_until", Float),
    Column("cancel_requested", Boolean, nullable=False, server_default=text("false")),
    Column("last_seq", Integer, nullable=False, server_default="0"),
    Column("plan", Text),
    Column("environment_key", String(64)),
    Column("error_code", String(64)),
    Column("error_message", Text),
    Column("error_hint", Text),
    Column("error_retryable", Boolean),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("finished_at", Float),
    Column("environment_reused", Boolean),
    Index(
        "one_unfinished_build_per_image",
        "image",
        unique=True,
        sqlite_where=text(UNFINISHED),
        postgresql_where=text(UNFINISHED),
    ),
    Index("builds_by_state", "state", "created_at"),
    Index("builds_by_image", "image", "created_at"),
)

build_steps = Table(
    "build_steps",
    metadata,
    Column("build_id", ForeignKey("builds.id", ondelete="CASCADE"), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("state", String(16), primary_key=True),
    Column("entered_at", Float, nullable=False),
)

build_events = Table(
    "build_events",
    metadata,
    Column("build_id", ForeignKey("builds.id", ondelete="CASCADE"), primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("created_at", Float, nullable=False),
    Column("payload", Text, nullable=False),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(128), nullable=False, unique=True),
    Column("token", String(64), nullable=False),
    Column("image", String(512), nullable=False),
    Column("build_id", String(32)),
    Column("request", Text, nullable=False),
    Column("launch_host", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("last_seq", Integer, nullable=False, server_default="0"),
    Column("address", Text),
    Column("error_code", String(64)),
    Column("error_message", Text),
    Column("error_hint", Text),
    Column("error_retryable", Boolean),
    Column("stop_reason", Text),
    Column("created_at", Float, nullable=False),
    Column("watched_at", Float, nullable=False),
    Column("started_at", Float),
    Column("ready_at", Float),
    Column("opened_at", Float),
    Column("active_at", Float),
    Column("finished_at", Float),
    Column("browser", String(64)),
    Column("repository", Text, nullable=False, server_default=""),
    Column("allowance", Text, nullable=False, server_default="{}"),
    Column("launch_event", Text),
    Index("sessions_by_state", "state", "created_at"),
    Index("sessions_by_build", "build_id"),
    Index("sessions_by_browser", "browser", "created_at"),
    Index("sessions_by_end", "finished_at"),
    Index("sessions_by_ready", "ready_at"),
)

session_events = Table(
    "session_events",
    metadata,
    Column("session_id", ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("created_at", Float, nullable=False),
    Column("payload", Text, nullable=False),
)

images = Table(
    "images",
    metadata,
    Column("reference", String(512), primary_key=True),
    Column("environment_key", String(64), nullable=False),
    Column("repo_url", Text, nullable=False),
    Column("ref", String(128), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("used_at", Float, nullable=False),
    Index("images_by_environment", "environment_key", "created_at"),
)

environments = Table(
    "environments",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("lock", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("created_at", Float, nullable=False),
)

previews = Table(
    "previews",
    metadata,
    Column("image", String(512), primary_key=True),
    Column("provider", String(32), nullable=False),
    Column("spec", Text, nullable=False),
    Column("repo_url", Text, nullable=False),
    Column("ref", String(128), nullable=False),
    Column("ref_url", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("lease_until", Float),
    Column("plan", Text),
    Column("notes", Text),
    Column("error_code", String(64)),
    Column("error_message", Text),
    Column("error_hint", Text),
    Column("error_retryable", Boolean),
    Column("created_at", Float, nullable=False),
    Column("finished_at", Float),
    Index("previews_by_state", "state", "created_at"),
)

launches = Table(
    "launches",
    metadata,
    Column("session", String(128), primary_key=True),
    Column("ended_at", Float, nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("error_code", String(64)),
    Column("seconds", Float, nullable=False),
    Column("built", Boolean, nullable=False),
    Column("provider", String(32), nullable=False),
    Column("repo_url", Text, nullable=False),
    Column("link", Text, nullable=False),
    Index("launches_by_time", "ended_at"),
)

documents = Table(
    "documents",
    metadata,
    Column("key", String(32), primary_key=True),
    Column("owner", String(32), nullable=False),
    Column("path", Text, nullable=False),
    Column("html", Text),
    Column("created_at", Float, nullable=False),
    Index("documents_by_owner", "owner"),
    Index("documents_by_age", "created_at"),
)

resolutions = Table(
    "resolutions",
    metadata,
    Column("key", Text, primary_key=True),
    Column("resolved", Text, nullable=False),
    Column("expires_at", Float, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("lease_until", Float, nullable=False),
)

rates = Table(
    "rates",
    metadata,
    Column("client", String(64), primary_key=True),
    Column("window", Integer, primary_key=True),
    Column("count", Integer, nullable=False),
)
