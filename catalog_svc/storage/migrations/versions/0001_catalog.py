"""The first schema: shops, products, items, syncs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "idempotency_key",
        sa.Column("merchant_id", sa.UUID(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("request_hash", sa.LargeBinary(), nullable=False),
        sa.Column("sync_id", sa.UUID(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("merchant_id", "method", "request_id", name="idempotency_key_pkey"),
    )
    op.create_index("idempotency_by_request", "idempotency_key", ["request_id"], unique=False)
    op.create_table(
        "item",
        sa.Column("merchant_id", sa.UUID(), nullable=False),
        sa.Column("shop_id", sa.UUID(), nullable=False),
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("product_id", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("title", sa.Text(), server_default="", nullable=False),
        sa.Column("sku", sa.Text(), server_default="", nullable=False),
        sa.Column("barcode", sa.Text(), server_default="", nullable=False),
        sa.Column("currency_code", sa.Text(), server_default="", nullable=False),
        sa.Column("price", sa.Numeric(), nullable=True),
        sa.Column("compare_at_price", sa.Numeric(), nullable=True),
        sa.Column("stock_quantity", sa.BigInteger(), nullable=True),
        sa.Column("available", sa.Boolean(), nullable=False),
        sa.Column("sellable_without_stock", sa.Boolean(), nullable=False),
        sa.Column("options", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("image_url", sa.Text(), server_default="", nullable=False),
        sa.Column("weight", sa.Numeric(), nullable=True),
        sa.Column("weight_unit", sa.Text(), server_default="", nullable=False),
        sa.Column("source_created_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("source_updated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("merchant_id", "shop_id", "item_id", name="item_pkey"),
    )
    op.create_index("item_by_product", "item", ["merchant_id", "shop_id", "product_id", "item_id"], unique=False)
    op.create_index(
        "item_by_sku",
        "item",
        ["merchant_id", "shop_id", "sku"],
        unique=False,
        postgresql_where=sa.text("sku <> ''"),
    )
    op.create_table(
        "product",
        sa.Column("merchant_id", sa.UUID(), nullable=False),
        sa.Column("shop_id", sa.UUID(), nullable=False),
        sa.Column("product_id", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False),
        sa.Column("title", sa.Text(), server_default="", nullable=False),
        sa.Column("handle", sa.Text(), server_default="", nullable=False),
        sa.Column("description_html", sa.Text(), server_default="", nullable=False),
        sa.Column("vendor", sa.Text(), server_default="", nullable=False),
        sa.Column("product_type", sa.Text(), server_default="", nullable=False),
        sa.Column("tags", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("status", sa.Text(), server_default="", nullable=False),
        sa.Column("url", sa.Text(), server_default="", nullable=False),
        sa.Column("options", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("images", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("source_created_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("source_updated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("item_count", sa.Integer(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("merchant_id", "shop_id", "product_id", name="product_pkey"),
    )
    op.create_table(
        "shop",
        sa.Column("merchant_id", sa.UUID(), nullable=False),
        sa.Column("shop_id", sa.UUID(), nullable=False),
        sa.Column("platform", sa.Text(), nullable=False),
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("platform_shop_id", sa.Text(), server_default="", nullable=False),
        sa.Column("currency_code", sa.Text(), server_default="", nullable=False),
        sa.Column("display_name", sa.Text(), server_default="", nullable=False),
        sa.Column("watermark", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("merchant_id", "shop_id", name="shop_pkey"),
        sa.UniqueConstraint("platform", "domain", name="shop_platform_domain_key"),
    )
    op.create_table(
        "sync",
        sa.Column("merchant_id", sa.UUID(), nullable=False),
        sa.Column("sync_id", sa.UUID(), nullable=False),
        sa.Column("shop_id", sa.UUID(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("allow_mass_delete", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("parent_sync_id", sa.UUID(), nullable=True),
        sa.Column("pass_id", sa.UUID(), nullable=False),
        sa.Column("correlation_id", sa.Text(), server_default="", nullable=False),
        sa.Column("revision", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column("epoch", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("owner", sa.UUID(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("progressed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("next_seq", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("claims_without_progress", sa.Integer(), server_default="0", nullable=False),
        sa.Column("begun_epoch", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("attempt_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("checkpoint", sa.LargeBinary(), server_default=sa.text("'\\x'"), nullable=False),
        sa.Column("updated_after", sa.DateTime(timezone=True), nullable=True),
        sa.Column("watermark", sa.DateTime(timezone=True), nullable=True),
        sa.Column("products_seen", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("products_created", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("products_updated", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("products_unchanged", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("products_deleted", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("products_set_aside", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("items_seen", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("items_created", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("items_updated", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("items_unchanged", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("items_deleted", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("items_set_aside", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("issue_count", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("estimated_product_count", sa.BigInteger(), nullable=True),
        sa.Column("estimated_item_count", sa.BigInteger(), nullable=True),
        sa.Column("items_per_second", sa.Double(), nullable=True),
        sa.Column("strategy", sa.Text(), server_default="", nullable=False),
        sa.Column("served_api_version", sa.Text(), server_default="", nullable=False),
        sa.Column("waiting_reason", sa.Text(), nullable=True),
        sa.Column("waiting_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("waiting_message", sa.Text(), server_default="", nullable=False),
        sa.Column("waiting_done_count", sa.BigInteger(), nullable=True),
        sa.Column("waiting_total_count", sa.BigInteger(), nullable=True),
        sa.Column("error_reason", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "error_metadata",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("merchant_id", "sync_id", name="sync_pkey"),
        postgresql_with={
            "fillfactor": "70",
            "autovacuum_vacuum_scale_factor": "0.02",
            "autovacuum_vacuum_threshold": "200",
        },
    )
    op.create_index(
        "sync_active", "sync", ["state"], unique=False, postgresql_where=sa.text("state IN ('PENDING', 'RUNNING')")
    )
    op.create_index("sync_by_id", "sync", ["sync_id"], unique=False)
    op.create_index("sync_by_shop", "sync", ["merchant_id", "shop_id", "sync_id"], unique=False)
    op.create_index(
        "sync_one_active_per_shop",
        "sync",
        ["merchant_id", "shop_id"],
        unique=True,
        postgresql_where=sa.text("state IN ('PENDING', 'RUNNING')"),
    )
    op.create_table(
        "sync_issue",
        sa.Column("merchant_id", sa.UUID(), nullable=False),
        sa.Column("sync_id", sa.UUID(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("product_id", sa.Text(), server_default="", nullable=False),
        sa.Column("item_id", sa.Text(), server_default="", nullable=False),
        sa.Column("field", sa.Text(), server_default="", nullable=False),
        sa.Column("message", sa.Text(), server_default="", nullable=False),
        sa.Column("sample", sa.Text(), server_default="", nullable=False),
        sa.Column("product_set_aside", sa.Boolean(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("merchant_id", "sync_id", "number", name="sync_issue_pkey"),
    )
    op.create_table(
        "sync_seen",
        sa.Column("merchant_id", sa.UUID(), nullable=False),
        sa.Column("pass_id", sa.UUID(), nullable=False),
        sa.Column("product_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("merchant_id", "pass_id", "product_id", name="sync_seen_pkey"),
    )
    # A shop belongs to one merchant: without this the planner multiplies the two, expects a single row, and takes
    # any index for as good as the right one.
    for table in ("product", "item"):
        op.execute(f"CREATE STATISTICS {table}_of_shop (dependencies) ON merchant_id, shop_id FROM {table}")
