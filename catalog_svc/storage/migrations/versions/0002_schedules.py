"""How often shops are synced without being asked, and what finds rows that nobody needs any more."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    now = sa.text("clock_timestamp()")
    op.create_table(
        "shop_schedule",
        sa.Column("merchant_id", sa.UUID(), nullable=False),
        sa.Column("shop_id", sa.UUID(), nullable=False),
        sa.Column("incremental_every", sa.Interval(), nullable=True),
        sa.Column("full_every", sa.Interval(), nullable=True),
        sa.Column("paused", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("incremental_due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("full_due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("taken_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.PrimaryKeyConstraint("merchant_id", "shop_id", name="shop_schedule_pkey"),
        if_not_exists=True,
    )
    # Outside of the transaction, which would block all writes until the index is complete.
    with op.get_context().autocommit_block():
        for table in ("item", "product"):
            op.create_index(
                f"{table}_deleted",
                table,
                ["merchant_id", "shop_id", "deleted_at"],
                unique=False,
                postgresql_where=sa.text("deleted_at IS NOT NULL"),
                postgresql_concurrently=True,
                if_not_exists=True,
            )
