"""Indexes of items by their image and the state of its analysis, built without blocking writes."""

from __future__ import annotations

from typing import Final

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

# Their rows are those of shops with analysis: as long as there are none, they take neither space nor time.
_INDEXES: Final = {
    "item_by_image": "item (shop_id, image_hash) WHERE image_hash IS NOT NULL AND deleted_at IS NULL",
    "item_by_analysis": """item (shop_id, analysis_state, product_id, item_id)
        WHERE analysis_state IS NOT NULL AND deleted_at IS NULL""",
    "shop_state_analysis_backfill": "shop_state (shop_id) WHERE analysis_backfill_after IS NOT NULL",
}


def upgrade() -> None:
    with op.get_context().autocommit_block():
        for name, columns in _INDEXES.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {columns}")
