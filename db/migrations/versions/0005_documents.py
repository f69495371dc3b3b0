"""documents, and whether a build found its environment"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("builds", sa.Column("environment_reused", sa.Boolean(), nullable=True))
    op.create_table(
        "documents",
        sa.Column("key", sa.String(length=32), nullable=False),
        sa.Column("owner", sa.String(length=32), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("html", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_documents")),
    )
    op.create_index("documents_by_owner", "documents", ["owner"])
    op.create_index("documents_by_age", "documents", ["created_at"])
    op.create_index("sessions_by_ready", "sessions", ["ready_at"])
