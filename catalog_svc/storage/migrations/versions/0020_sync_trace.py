"""The trace in which a sync was created, which its execution continues. See docs/decisions/0063."""

from __future__ import annotations

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("sync", "sync_history"):
        op.execute(f"ALTER TABLE {table} ADD COLUMN traceparent TEXT DEFAULT '' NOT NULL")
