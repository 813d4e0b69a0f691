"""What syncs could not see, and how far the last full sync reaches."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("shop", sa.Column("full_watermark", sa.DateTime(timezone=True), nullable=True))
    op.add_column("shop", _notes())
    op.add_column("sync", _notes())
    op.add_column(
        "sync", sa.Column("products_checked", sa.BigInteger(), server_default=sa.text("0"), nullable=False)
    )


def _notes() -> sa.Column[list[str]]:
    return sa.Column("notes", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False)
