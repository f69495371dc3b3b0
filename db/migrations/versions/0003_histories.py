"""histories: steps of builds, ended launches, environments, previews"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    _build_steps()
    _environments()
    _previews()
    _launches()
    op.add_column("sessions", sa.Column("browser", sa.String(length=64), nullable=True))
    op.create_index("sessions_by_build", "sessions", ["build_id"])
    op.create_index("sessions_by_browser", "sessions", ["browser", "created_at"])
    op.create_index("builds_by_image", "builds", ["image", "created_at"])
    op.create_index("images_by_environment", "images", ["environment_key", "created_at"])


def _build_steps() -> None:
    op.create_table(
        "build_steps",
        sa.Column("build_id", sa.String(length=32), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("entered_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["build_id"], ["builds.id"], name=op.f("fk_build_steps_build_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("build_id", "attempt", "state", name=op.f("pk_build_steps")),
    )


def _environments() -> None:
    op.create_table(
        "environments",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("lock", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_environments")),
    )


def _previews() -> None:
    op.create_table(
        "previews",
        sa.Column("image", sa.String(length=512), nullable=False),
        sa.Column("provider", sa.String(length=32), nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("repo_url", sa.Text(), nullable=False),
        sa.Column("ref", sa.String(length=128), nullable=False),
        sa.Column("ref_url", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lease_until", sa.Float(), nullable=True),
        sa.Column("plan", sa.Text(), nullable=True),
        sa.Column("notes", sa.Text(), nullable=True),
        sa.Column("error_code", sa.String(length=64), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("error_hint", sa.Text(), nullable=True),
        sa.Column("error_retryable", sa.Boolean(), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("finished_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("image", name=op.f("pk_previews")),
    )
    op.create_index("previews_by_state", "previews", ["state", "created_at"])


def _launches() -> None:
    op.create_table(
        "launches",
        sa.Column("session", sa.String(length=128), nullable=False),
        sa.Column("ended_at", sa.Float(), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("error_code", sa.String(length=64), nullable=True),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("built", sa.Boolean(), nullable=False),
        sa.Column("provider", sa.String(length=32), nullable=False),
        sa.Column("repo_url", sa.Text(), nullable=False),
        sa.Column("link", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("session", name=op.f("pk_launches")),
    )
    op.create_index("launches_by_time", "launches", ["ended_at"])
