"""Products to read again by their ids, and the queue of the shops that have some. See docs/decisions/0052."""

from __future__ import annotations

from typing import Final

from alembic import op
from sqlalchemy import text

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_TABLES: Final = (
    """
    CREATE TABLE product_refresh (
        shop_id UUID NOT NULL,
        product_id TEXT NOT NULL,
        reason TEXT NOT NULL,
        first_requested_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
        last_requested_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
        pending BOOLEAN DEFAULT true NOT NULL,
        reader UUID,
        refreshed BOOLEAN DEFAULT false NOT NULL,
        read_count BIGINT DEFAULT '0' NOT NULL,
        CONSTRAINT product_refresh_pkey PRIMARY KEY (shop_id, product_id)
    ) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 200)""",
    """
    CREATE INDEX product_refresh_unread
        ON product_refresh (shop_id, read_count, first_requested_at, product_id)
        WHERE pending OR reader IS NOT NULL""",
    """
    CREATE TABLE refresh_queue (
        shop_id UUID NOT NULL,
        platform TEXT NOT NULL,
        due_at TIMESTAMP WITH TIME ZONE NOT NULL,
        claim_id UUID,
        failure_count BIGINT DEFAULT '0' NOT NULL,
        wanted_sync TEXT,
        wanted_count BIGINT DEFAULT '0' NOT NULL,
        CONSTRAINT refresh_queue_pkey PRIMARY KEY (shop_id)
    ) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 200)""",
    "CREATE INDEX refresh_queue_due ON refresh_queue (due_at)",
)

# As in 0011: equality with the one shop of the transaction where there may be many rows, else any of its shops.
_POLICIES: Final = {
    "product_refresh": "shop_id = CAST(NULLIF(current_setting('catalog.shop_ids', true), '') AS uuid)",
    "refresh_queue": """shop_id = ANY (
        CAST(string_to_array(current_setting('catalog.shop_ids', true), ',') AS uuid[]))""",
}

# A claim waits neither for another replica's claim nor for a request.
_CLAIM: Final = """
    CREATE OR REPLACE FUNCTION claim_refreshes(
        max_count integer, without_platforms text[], claimant uuid, claim_ttl interval)
    RETURNS SETOF uuid LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, {schema}, pg_temp
    SET plan_cache_mode = force_custom_plan
    AS $$
    #variable_conflict use_column
    BEGIN
        RETURN QUERY
            WITH due AS (
                SELECT refresh_queue.shop_id FROM refresh_queue
                WHERE refresh_queue.due_at <= statement_timestamp()
                  AND refresh_queue.platform <> ALL (without_platforms)
                ORDER BY refresh_queue.due_at LIMIT max_count FOR UPDATE SKIP LOCKED)
            UPDATE refresh_queue SET claim_id = claimant, due_at = clock_timestamp() + claim_ttl
            FROM due WHERE refresh_queue.shop_id = due.shop_id
            RETURNING refresh_queue.shop_id;
    END $$"""

_PENDING: Final = """
    CREATE OR REPLACE FUNCTION pending_refreshes()
    RETURNS TABLE (pending_count bigint, oldest_age interval) LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, {schema}, pg_temp
    SET plan_cache_mode = force_custom_plan
    AS $$
    #variable_conflict use_column
    BEGIN
        RETURN QUERY SELECT count(*), statement_timestamp() - min(product_refresh.first_requested_at)
            FROM product_refresh WHERE pending OR reader IS NOT NULL;
    END $$"""


def _schema() -> str:
    """Return the quoted name of the schema with the tables."""
    context = op.get_context()
    if context.as_sql or context.connection is None:
        return "public"
    return str(context.connection.execute(text("SELECT quote_ident(current_schema())")).scalar_one())


def upgrade() -> None:
    for statement in _TABLES:
        op.execute(statement)
    for table, condition in _POLICIES.items():
        op.execute(f"CREATE POLICY of_shop ON {table} USING ({condition}) WITH CHECK ({condition})")
        op.execute(f"SELECT force_row_security('{table}')")
    for name, create in (("claim_refreshes", _CLAIM), ("pending_refreshes", _PENDING)):
        op.execute(create.format(schema=_schema()))
        op.execute(f"REVOKE EXECUTE ON FUNCTION {name} FROM PUBLIC")
