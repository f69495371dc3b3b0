"""line"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("sessions", sa.Column("repository", sa.Text(), server_default="", nullable=False))
    op.add_column("sessions", sa.Column("allowance", sa.Text(), server_default="{}", nullable=False))
    op.add_column("sessions", sa.Column("launch_event", sa.Text(), nullable=True))
    op.create_index("sessions_by_end", "sessions", ["finished_at"], unique=False)
