"""The oldest release that may run on this schema, as the schema that it needs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table("schema_compatibility", sa.Column("min_compatible", sa.Text(), nullable=False))
    # A later migration that takes away what an older release reads or writes updates it.
    op.execute("INSERT INTO schema_compatibility (min_compatible) VALUES ('0004')")
