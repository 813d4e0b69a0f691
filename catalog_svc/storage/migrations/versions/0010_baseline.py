"""The baseline: all tables of the first schema that releases depend on; earlier ones cannot be migrated."""

from __future__ import annotations

from typing import Final

from alembic import op

revision = "0010"
down_revision = None
branch_labels = None
depends_on = None

_STATEMENTS: Final = (
    r"""
    CREATE TABLE shop (
        shop_id UUID NOT NULL,
        platform TEXT NOT NULL,
        domain TEXT NOT NULL,
        merchant_id TEXT DEFAULT '' NOT NULL,
        platform_shop_id TEXT DEFAULT '' NOT NULL,
        currency_code TEXT DEFAULT '' NOT NULL,
        display_name TEXT DEFAULT '' NOT NULL,
        caller_name TEXT DEFAULT '' NOT NULL,
        connection_state TEXT DEFAULT '' NOT NULL,
        connection_reason TEXT DEFAULT '' NOT NULL,
        connection_message TEXT DEFAULT '' NOT NULL,
        created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        CONSTRAINT shop_pkey PRIMARY KEY (shop_id),
        CONSTRAINT shop_platform_domain_key UNIQUE (platform, domain)
    )
    """,
    r"""
    CREATE INDEX shop_by_merchant ON shop (merchant_id, shop_id) WHERE merchant_id <> ''
    """,
    r"""
    CREATE INDEX shop_by_platform ON shop (platform, shop_id)
    """,
    r"""
    CREATE INDEX shop_by_connection ON shop (connection_state, shop_id) WHERE connection_state <> ''
    """,
    r"""
    CREATE INDEX shop_by_platform_shop_id ON shop (platform, platform_shop_id) WHERE platform_shop_id <> ''
    """,
    r"""
    CREATE TABLE shop_deletion (
        shop_id UUID NOT NULL,
        platform TEXT NOT NULL,
        domain TEXT NOT NULL,
        merchant_id TEXT DEFAULT '' NOT NULL,
        product_count BIGINT DEFAULT '0' NOT NULL,
        item_count BIGINT DEFAULT '0' NOT NULL,
        sync_count BIGINT DEFAULT '0' NOT NULL,
        issue_count BIGINT DEFAULT '0' NOT NULL,
        started_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        ended_at timestamptz,
        CONSTRAINT shop_deletion_pkey PRIMARY KEY (shop_id)
    )
    """,
    r"""
    CREATE INDEX shop_deletion_by_key ON shop_deletion (platform, domain, started_at)
    """,
    r"""
    CREATE INDEX shop_deletion_active ON shop_deletion (started_at) WHERE ended_at IS NULL
    """,
    r"""
    CREATE INDEX shop_deletion_ended ON shop_deletion (ended_at) WHERE ended_at IS NOT NULL
    """,
    r"""
    CREATE TABLE shop_state (
        shop_id UUID NOT NULL,
        deleting BOOLEAN DEFAULT false NOT NULL,
        purged_product_count BIGINT DEFAULT '0' NOT NULL,
        purged_item_count BIGINT DEFAULT '0' NOT NULL,
        purged_sync_count BIGINT DEFAULT '0' NOT NULL,
        purged_issue_count BIGINT DEFAULT '0' NOT NULL,
        epoch BIGINT DEFAULT '0' NOT NULL,
        next_seq BIGINT DEFAULT '0' NOT NULL,
        feed_position BIGINT DEFAULT '0' NOT NULL,
        feed_floor BIGINT DEFAULT '0' NOT NULL,
        incarnation UUID DEFAULT gen_random_uuid() NOT NULL,
        product_count BIGINT DEFAULT '0' NOT NULL,
        item_count BIGINT DEFAULT '0' NOT NULL,
        item_with_image_count BIGINT DEFAULT '0' NOT NULL,
        oldest_tombstone_at timestamptz,
        watermark timestamptz,
        full_watermark timestamptz,
        notes TEXT[] DEFAULT '{}' NOT NULL,
        last_sync_number BIGINT DEFAULT '0' NOT NULL,
        active_sync_id UUID,
        last_ended_sync_id UUID,
        open_pass_id UUID,
        blocked_pass_id UUID,
        blocked_digest BYTEA,
        blocked_count BIGINT,
        unchanged_sync_count BIGINT DEFAULT '0' NOT NULL,
        updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        CONSTRAINT shop_state_pkey PRIMARY KEY (shop_id)
    ) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 200)
    """,
    r"""
    CREATE INDEX shop_state_tombstones ON shop_state (oldest_tombstone_at) WHERE oldest_tombstone_at IS NOT NULL
    """,
    r"""
    CREATE TABLE shop_schedule (
        shop_id UUID NOT NULL,
        platform TEXT NOT NULL,
        incremental_interval INTERVAL,
        full_interval INTERVAL,
        paused BOOLEAN DEFAULT false NOT NULL,
        incremental_due_at timestamptz,
        full_due_at timestamptz,
        not_before timestamptz,
        next_due_at timestamptz GENERATED ALWAYS AS (
            CASE WHEN NOT paused AND coalesce(incremental_due_at, full_due_at) IS NOT NULL
            THEN greatest(least(incremental_due_at, full_due_at), not_before) END) STORED,
        planned_incremental_interval INTERVAL,
        planned_full_interval INTERVAL,
        created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        CONSTRAINT shop_schedule_pkey PRIMARY KEY (shop_id)
    ) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 200)
    """,
    r"""
    CREATE INDEX shop_schedule_due ON shop_schedule (platform, next_due_at) WHERE next_due_at IS NOT NULL
    """,
    r"""
    CREATE INDEX shop_schedule_unplanned ON shop_schedule (shop_id) WHERE planned_full_interval IS NULL
    """,
    r"""
    CREATE TABLE product (
        shop_id UUID NOT NULL,
        product_id TEXT NOT NULL,
        content_hash BYTEA NOT NULL,
        title TEXT DEFAULT '' NOT NULL,
        handle TEXT DEFAULT '' NOT NULL,
        description_html TEXT DEFAULT '' NOT NULL,
        vendor TEXT DEFAULT '' NOT NULL,
        product_type TEXT DEFAULT '' NOT NULL,
        tags TEXT[] NOT NULL,
        status TEXT DEFAULT '' NOT NULL,
        url TEXT DEFAULT '' NOT NULL,
        options JSONB NOT NULL,
        images JSONB NOT NULL,
        source_created_at timestamptz,
        source_updated_at timestamptz,
        item_count INTEGER NOT NULL,
        feed_position BIGINT DEFAULT '0' NOT NULL,
        created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        deleted_at timestamptz,
        CONSTRAINT product_pkey PRIMARY KEY (shop_id, product_id)
    ) WITH (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02)
    """,
    r"""
    CREATE INDEX product_deleted ON product (shop_id, deleted_at) WHERE deleted_at IS NOT NULL
    """,
    r"""
    CREATE INDEX product_live ON product (shop_id, product_id) WHERE deleted_at IS NULL
    """,
    r"""
    CREATE TABLE item (
        shop_id UUID NOT NULL,
        item_id TEXT NOT NULL,
        product_id TEXT NOT NULL,
        position INTEGER NOT NULL,
        title TEXT DEFAULT '' NOT NULL,
        sku TEXT DEFAULT '' NOT NULL,
        barcode TEXT DEFAULT '' NOT NULL,
        currency_code TEXT DEFAULT '' NOT NULL,
        price NUMERIC,
        compare_at_price NUMERIC,
        stock_quantity BIGINT,
        available BOOLEAN NOT NULL,
        sellable_without_stock BOOLEAN NOT NULL,
        options JSONB NOT NULL,
        image_url TEXT DEFAULT '' NOT NULL,
        weight NUMERIC,
        weight_unit TEXT DEFAULT '' NOT NULL,
        source_created_at timestamptz,
        source_updated_at timestamptz,
        feed_position BIGINT DEFAULT '0' NOT NULL,
        created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        deleted_at timestamptz,
        CONSTRAINT item_pkey PRIMARY KEY (shop_id, item_id)
    ) WITH (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02)
    """,
    r"""
    CREATE INDEX item_by_position ON item (shop_id, feed_position) WHERE deleted_at IS NULL
    """,
    r"""
    CREATE INDEX item_by_product ON item (shop_id, product_id, item_id) WHERE deleted_at IS NULL
    """,
    r"""
    CREATE INDEX item_by_sku ON item (shop_id, sku, product_id, item_id) WHERE sku <> '' AND deleted_at IS NULL
    """,
    r"""
    CREATE INDEX item_deleted ON item (shop_id, deleted_at) WHERE deleted_at IS NOT NULL
    """,
    r"""
    CREATE INDEX item_deleted_by_position ON item (shop_id, feed_position) WHERE deleted_at IS NOT NULL
    """,
    r"""
    CREATE INDEX item_deleted_by_product ON item (shop_id, product_id, item_id) WHERE deleted_at IS NOT NULL
    """,
    r"""
    CREATE INDEX item_deleted_by_sku ON item (shop_id, sku, product_id, item_id)
    WHERE sku <> '' AND deleted_at IS NOT NULL
    """,
    r"""
    CREATE TABLE sync_queue (
        shop_id UUID NOT NULL,
        sync_id UUID NOT NULL,
        queue_number BIGINT GENERATED ALWAYS AS IDENTITY,
        platform TEXT NOT NULL,
        mode TEXT NOT NULL,
        priority INTEGER NOT NULL,
        epoch BIGINT NOT NULL,
        owner UUID,
        lease_until timestamptz,
        created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        CONSTRAINT sync_queue_pkey PRIMARY KEY (shop_id)
    ) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 200)
    """,
    r"""
    CREATE INDEX sync_queue_order ON sync_queue (platform, priority, queue_number)
    """,
    r"""
    CREATE TABLE sync (
        shop_id UUID NOT NULL,
        sync_id UUID NOT NULL,
        state TEXT NOT NULL,
        mode TEXT NOT NULL,
        trigger TEXT NOT NULL,
        allow_mass_delete BOOLEAN DEFAULT false NOT NULL,
        parent_sync_id UUID,
        pass_id UUID NOT NULL,
        correlation_id TEXT DEFAULT '' NOT NULL,
        revision BIGINT DEFAULT '1' NOT NULL,
        epoch BIGINT DEFAULT '0' NOT NULL,
        progressed_at timestamptz,
        claims_without_progress INTEGER DEFAULT '0' NOT NULL,
        started_epoch BIGINT DEFAULT '0' NOT NULL,
        attempt_count INTEGER DEFAULT '0' NOT NULL,
        checkpoint BYTEA DEFAULT '\x' NOT NULL,
        updated_after timestamptz,
        watermark timestamptz,
        products_seen BIGINT DEFAULT '0' NOT NULL,
        products_created BIGINT DEFAULT '0' NOT NULL,
        products_updated BIGINT DEFAULT '0' NOT NULL,
        products_unchanged BIGINT DEFAULT '0' NOT NULL,
        products_deleted BIGINT DEFAULT '0' NOT NULL,
        products_rejected BIGINT DEFAULT '0' NOT NULL,
        items_seen BIGINT DEFAULT '0' NOT NULL,
        items_created BIGINT DEFAULT '0' NOT NULL,
        items_updated BIGINT DEFAULT '0' NOT NULL,
        items_unchanged BIGINT DEFAULT '0' NOT NULL,
        items_deleted BIGINT DEFAULT '0' NOT NULL,
        items_rejected BIGINT DEFAULT '0' NOT NULL,
        products_checked BIGINT DEFAULT '0' NOT NULL,
        issue_count BIGINT DEFAULT '0' NOT NULL,
        estimated_product_count BIGINT,
        estimated_item_count BIGINT,
        items_per_second DOUBLE PRECISION,
        strategy TEXT DEFAULT '' NOT NULL,
        served_api_version TEXT DEFAULT '' NOT NULL,
        notes TEXT[] DEFAULT '{}' NOT NULL,
        waiting_reason TEXT,
        waiting_until timestamptz,
        waiting_message TEXT DEFAULT '' NOT NULL,
        waiting_done_count BIGINT,
        waiting_total_count BIGINT,
        error_reason TEXT,
        error_message TEXT DEFAULT '' NOT NULL,
        error_metadata JSONB DEFAULT '{}' NOT NULL,
        created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        started_at timestamptz,
        ended_at timestamptz,
        CONSTRAINT sync_pkey PRIMARY KEY (shop_id, sync_id)
    ) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 200)
    """,
    r"""
    CREATE INDEX sync_by_state ON sync (state, created_at, sync_id)
    """,
    r"""
    CREATE INDEX sync_by_time ON sync (created_at, sync_id)
    """,
    r"""
    CREATE TABLE sync_history (
        shop_id UUID NOT NULL,
        sync_id UUID NOT NULL,
        state TEXT NOT NULL,
        mode TEXT NOT NULL,
        trigger TEXT NOT NULL,
        allow_mass_delete BOOLEAN DEFAULT false NOT NULL,
        parent_sync_id UUID,
        pass_id UUID NOT NULL,
        correlation_id TEXT DEFAULT '' NOT NULL,
        revision BIGINT DEFAULT '1' NOT NULL,
        epoch BIGINT DEFAULT '0' NOT NULL,
        progressed_at timestamptz,
        claims_without_progress INTEGER DEFAULT '0' NOT NULL,
        started_epoch BIGINT DEFAULT '0' NOT NULL,
        attempt_count INTEGER DEFAULT '0' NOT NULL,
        checkpoint BYTEA DEFAULT '\x' NOT NULL,
        updated_after timestamptz,
        watermark timestamptz,
        products_seen BIGINT DEFAULT '0' NOT NULL,
        products_created BIGINT DEFAULT '0' NOT NULL,
        products_updated BIGINT DEFAULT '0' NOT NULL,
        products_unchanged BIGINT DEFAULT '0' NOT NULL,
        products_deleted BIGINT DEFAULT '0' NOT NULL,
        products_rejected BIGINT DEFAULT '0' NOT NULL,
        items_seen BIGINT DEFAULT '0' NOT NULL,
        items_created BIGINT DEFAULT '0' NOT NULL,
        items_updated BIGINT DEFAULT '0' NOT NULL,
        items_unchanged BIGINT DEFAULT '0' NOT NULL,
        items_deleted BIGINT DEFAULT '0' NOT NULL,
        items_rejected BIGINT DEFAULT '0' NOT NULL,
        products_checked BIGINT DEFAULT '0' NOT NULL,
        issue_count BIGINT DEFAULT '0' NOT NULL,
        estimated_product_count BIGINT,
        estimated_item_count BIGINT,
        items_per_second DOUBLE PRECISION,
        strategy TEXT DEFAULT '' NOT NULL,
        served_api_version TEXT DEFAULT '' NOT NULL,
        notes TEXT[] DEFAULT '{}' NOT NULL,
        waiting_reason TEXT,
        waiting_until timestamptz,
        waiting_message TEXT DEFAULT '' NOT NULL,
        waiting_done_count BIGINT,
        waiting_total_count BIGINT,
        error_reason TEXT,
        error_message TEXT DEFAULT '' NOT NULL,
        error_metadata JSONB DEFAULT '{}' NOT NULL,
        created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        started_at timestamptz,
        ended_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        CONSTRAINT sync_history_pkey PRIMARY KEY (shop_id, sync_id, ended_at)
    ) PARTITION BY RANGE (ended_at)
    """,
    r"""
    CREATE INDEX sync_history_by_state ON sync_history (state, created_at, sync_id)
    """,
    r"""
    CREATE INDEX sync_history_by_time ON sync_history (created_at, sync_id)
    """,
    r"""
    CREATE INDEX sync_history_of_shop_by_state ON sync_history (shop_id, state, sync_id)
    """,
    r"""
    CREATE TABLE sync_issue (
        shop_id UUID NOT NULL,
        sync_id UUID NOT NULL,
        pass_id UUID NOT NULL,
        number BIGINT NOT NULL,
        reason TEXT NOT NULL,
        product_id TEXT DEFAULT '' NOT NULL,
        item_id TEXT DEFAULT '' NOT NULL,
        field TEXT DEFAULT '' NOT NULL,
        message TEXT DEFAULT '' NOT NULL,
        sample TEXT DEFAULT '' NOT NULL,
        product_rejected BOOLEAN NOT NULL,
        created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        CONSTRAINT sync_issue_pkey PRIMARY KEY (shop_id, sync_id, number, created_at)
    ) PARTITION BY RANGE (created_at)
    """,
    r"""
    CREATE TABLE sync_seen (
        shop_id UUID NOT NULL,
        pass_id UUID NOT NULL,
        product_id TEXT NOT NULL,
        CONSTRAINT sync_seen_pkey PRIMARY KEY (shop_id, pass_id, product_id)
    )
    """,
    r"""
    CREATE TABLE obsolete_pass (
        shop_id UUID NOT NULL,
        pass_id UUID NOT NULL,
        created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        CONSTRAINT obsolete_pass_pkey PRIMARY KEY (shop_id, pass_id)
    )
    """,
    r"""
    CREATE TABLE idempotency_key (
        principal TEXT NOT NULL,
        method TEXT NOT NULL,
        request_id TEXT NOT NULL,
        request_hash BYTEA NOT NULL,
        shop_id UUID NOT NULL,
        sync_id UUID NOT NULL,
        created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        CONSTRAINT idempotency_key_pkey PRIMARY KEY (principal, method, request_id)
    )
    """,
    r"""
    CREATE INDEX idempotency_key_by_shop ON idempotency_key (shop_id)
    """,
    r"""
    CREATE INDEX idempotency_key_by_time ON idempotency_key (created_at)
    """,
    r"""
    CREATE TABLE loop_lease (
        name TEXT NOT NULL,
        owner UUID,
        lease_until timestamptz NOT NULL,
        CONSTRAINT loop_lease_pkey PRIMARY KEY (name)
    )
    """,
    r"""
    CREATE TABLE schema_compatibility (
        min_compatible TEXT NOT NULL
    )
    """,
    "CREATE TABLE sync_history_default PARTITION OF sync_history DEFAULT",
    "CREATE TABLE sync_issue_default PARTITION OF sync_issue DEFAULT",
    # A later migration that takes away what an older release reads or writes updates it.
    "INSERT INTO schema_compatibility (min_compatible) VALUES ('0010')",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)
