"""Analysis of item images: tasks, results, and the queue of the shops that have tasks. See docs/decisions/0059."""

from __future__ import annotations

from typing import Final

from alembic import op
from sqlalchemy import text

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_COLUMNS: Final = (
    """
    ALTER TABLE shop_state
        ADD COLUMN analyzers TEXT[] DEFAULT '{}' NOT NULL,
        ADD COLUMN analysis_backfill_after TEXT,
        ADD COLUMN analysis_pending_count BIGINT DEFAULT '0' NOT NULL,
        ADD COLUMN analysis_analyzed_count BIGINT DEFAULT '0' NOT NULL,
        ADD COLUMN analysis_failed_count BIGINT DEFAULT '0' NOT NULL""",
    """
    ALTER TABLE item
        ADD COLUMN image_version TEXT DEFAULT '' NOT NULL,
        ADD COLUMN image_hash BYTEA,
        ADD COLUMN analysis_state TEXT""",
)

_TABLES: Final = (
    """
    CREATE TABLE analysis_task (
        shop_id UUID NOT NULL,
        analyzer TEXT NOT NULL,
        image_hash BYTEA NOT NULL,
        image_url TEXT NOT NULL,
        feed_position BIGINT NOT NULL,
        epoch BIGINT DEFAULT '0' NOT NULL,
        attempt_count BIGINT DEFAULT '0' NOT NULL,
        available_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
        worker_id TEXT,
        dead BOOLEAN DEFAULT false NOT NULL,
        failure_reason TEXT DEFAULT '' NOT NULL,
        failure_message TEXT DEFAULT '' NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
        CONSTRAINT analysis_task_pkey PRIMARY KEY (shop_id, analyzer, image_hash)
    ) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 200)""",
    """
    CREATE INDEX analysis_task_open ON analysis_task (shop_id, analyzer, feed_position, image_hash)
        WHERE NOT dead""",
    """
    CREATE INDEX analysis_task_dead ON analysis_task (shop_id, analyzer, image_hash) WHERE dead""",
    """
    CREATE INDEX analysis_task_of_worker ON analysis_task (worker_id) WHERE worker_id IS NOT NULL""",
    """
    CREATE TABLE analysis_result (
        shop_id UUID NOT NULL,
        analyzer TEXT NOT NULL,
        image_hash BYTEA NOT NULL,
        image_url TEXT NOT NULL,
        model_version TEXT NOT NULL,
        category TEXT NOT NULL,
        subcategory TEXT NOT NULL,
        description TEXT NOT NULL,
        gender TEXT NOT NULL,
        attributes JSONB NOT NULL,
        quality_score NUMERIC NOT NULL,
        confidence_score NUMERIC NOT NULL,
        processing_time INTERVAL,
        task_position BIGINT NOT NULL,
        task_epoch BIGINT NOT NULL,
        updated_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
        quality_millionths BIGINT GENERATED ALWAYS AS (CAST(quality_score * 1000000 AS bigint)) STORED,
        CONSTRAINT analysis_result_pkey PRIMARY KEY (shop_id, analyzer, image_hash)
    ) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02)""",
    """
    CREATE INDEX analysis_result_by_score
        ON analysis_result (shop_id, analyzer, quality_millionths, image_hash)""",
    """
    CREATE INDEX analysis_result_by_category
        ON analysis_result (shop_id, analyzer, category, quality_millionths, image_hash)""",
    """
    CREATE TABLE analysis_queue (
        shop_id UUID NOT NULL,
        analyzer TEXT NOT NULL,
        due_at TIMESTAMP WITH TIME ZONE,
        virtual_time BIGINT DEFAULT '0' NOT NULL,
        CONSTRAINT analysis_queue_pkey PRIMARY KEY (shop_id, analyzer)
    ) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 200)""",
    """
    CREATE INDEX analysis_queue_order ON analysis_queue (analyzer, virtual_time, shop_id)
        WHERE due_at IS NOT NULL""",
    "CREATE INDEX analysis_queue_clock ON analysis_queue (analyzer, virtual_time)",
    """
    CREATE TABLE analysis_worker (
        worker_id TEXT NOT NULL,
        analyzer TEXT NOT NULL,
        model_version TEXT NOT NULL,
        seen_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
        CONSTRAINT analysis_worker_pkey PRIMARY KEY (worker_id)
    ) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 200)""",
    "CREATE INDEX analysis_worker_seen ON analysis_worker (seen_at)",
)

# As in 0011: equality with the one shop of the transaction where there may be many rows, else any of its shops.
_THE_SHOP: Final = "shop_id = CAST(NULLIF(current_setting('catalog.shop_ids', true), '') AS uuid)"
_POLICIES: Final = {
    "analysis_task": _THE_SHOP,
    "analysis_result": _THE_SHOP,
    "analysis_queue": """shop_id = ANY (
        CAST(string_to_array(current_setting('catalog.shop_ids', true), ',') AS uuid[]))""",
}

# What crosses shops returns ids and numbers.
_FUNCTIONS: Final = {
    # In the order of virtual time: the shop that was served least is the first.
    "due_analysis_shops": """(of_analyzer text, max_count integer)
    RETURNS TABLE (shop_id uuid, virtual_time bigint) LANGUAGE plpgsql STABLE SECURITY DEFINER {settings} AS $$
    #variable_conflict use_column
    BEGIN
        RETURN QUERY SELECT analysis_queue.shop_id, analysis_queue.virtual_time FROM analysis_queue
            WHERE analysis_queue.analyzer = of_analyzer AND analysis_queue.due_at IS NOT NULL
              AND analysis_queue.due_at <= statement_timestamp()
            ORDER BY analysis_queue.virtual_time, analysis_queue.shop_id LIMIT max_count;
    END $$""",
    "due_analyzers": """(of_analyzers text[])
    RETURNS SETOF text LANGUAGE plpgsql STABLE SECURITY DEFINER {settings} AS $$
    BEGIN
        RETURN QUERY SELECT one.name FROM unnest(of_analyzers) AS one (name)
            WHERE EXISTS (SELECT FROM due_analysis_shops(one.name, 1));
    END $$""",
    # The virtual time at which a shop that has tasks again takes its turn: it neither gets what it did not use,
    # nor waits for what it used while it was alone.
    "analysis_clock": """(of_analyzer text)
    RETURNS bigint LANGUAGE plpgsql STABLE SECURITY DEFINER {settings} AS $$
    BEGIN
        RETURN coalesce(
            (SELECT min(virtual_time) FROM analysis_queue WHERE analyzer = of_analyzer AND due_at IS NOT NULL),
            (SELECT max(virtual_time) FROM analysis_queue WHERE analyzer = of_analyzer), 0);
    END $$""",
    "count_analysis_leases": """(of_worker text)
    RETURNS bigint LANGUAGE plpgsql STABLE SECURITY DEFINER {settings} AS $$
    BEGIN
        RETURN (SELECT count(*) FROM analysis_task
            WHERE worker_id = of_worker AND NOT dead AND available_at > statement_timestamp());
    END $$""",
    "analysis_backfills": """(max_count integer)
    RETURNS SETOF uuid LANGUAGE plpgsql STABLE SECURITY DEFINER {settings} AS $$
    BEGIN
        RETURN QUERY SELECT shop_state.shop_id FROM shop_state
            WHERE shop_state.analysis_backfill_after IS NOT NULL AND NOT shop_state.deleting
            ORDER BY shop_state.shop_id LIMIT max_count;
    END $$""",
    # Instead of the one of 0011.
    "analyze_catalog": """()
    RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER {settings} AS $$
    BEGIN
        ANALYZE (SKIP_LOCKED) item, product, analysis_task, analysis_result;
    END $$""",
}

_SETTINGS: Final = "SET search_path = pg_catalog, {schema}, pg_temp SET plan_cache_mode = force_custom_plan"


def _schema() -> str:
    """Return the quoted name of the schema with the tables."""
    context = op.get_context()
    if context.as_sql or context.connection is None:
        return "public"
    return str(context.connection.execute(text("SELECT quote_ident(current_schema())")).scalar_one())


def upgrade() -> None:
    for statement in _COLUMNS:
        op.execute(statement)
    for statement in _TABLES:
        op.execute(statement)
    for table, condition in _POLICIES.items():
        op.execute(f"CREATE POLICY of_shop ON {table} USING ({condition}) WITH CHECK ({condition})")
        op.execute(f"SELECT force_row_security('{table}')")
    settings = _SETTINGS.format(schema=_schema())
    for name, definition in _FUNCTIONS.items():
        op.execute(f"CREATE OR REPLACE FUNCTION {name}{definition.replace('{settings}', settings)}")
        op.execute(f"REVOKE EXECUTE ON FUNCTION {name} FROM PUBLIC")
