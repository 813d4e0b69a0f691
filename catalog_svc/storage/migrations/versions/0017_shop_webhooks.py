"""What is known of the webhooks of each shop, and when they last kept silent. See docs/decisions/0056."""

from __future__ import annotations

from typing import Final

from alembic import op
from sqlalchemy import text

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_TABLE: Final = """
    CREATE TABLE shop_webhooks (
        shop_id UUID NOT NULL,
        known_since TIMESTAMP WITH TIME ZONE,
        delivered_at TIMESTAMP WITH TIME ZONE,
        attempted_at TIMESTAMP WITH TIME ZONE,
        checked_at TIMESTAMP WITH TIME ZONE,
        repaired_count BIGINT DEFAULT '0' NOT NULL,
        failure_reason TEXT DEFAULT '' NOT NULL,
        failure_message TEXT DEFAULT '' NOT NULL,
        must_retry BOOLEAN DEFAULT false NOT NULL,
        CONSTRAINT shop_webhooks_pkey PRIMARY KEY (shop_id)
    ) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 200)"""

# As in 0011: any of the shops of the transaction.
_POLICY: Final = """shop_id = ANY (
        CAST(string_to_array(current_setting('catalog.shop_ids', true), ',') AS uuid[]))"""

# Silent shops first, then those that were never checked.
_DUE: Final = """
    CREATE OR REPLACE FUNCTION due_webhook_checks(
        check_interval interval, retry_interval interval, of_platforms text[], max_count integer)
    RETURNS SETOF uuid LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, {schema}, pg_temp
    SET plan_cache_mode = force_custom_plan
    AS $$
    #variable_conflict use_column
    BEGIN
        RETURN QUERY
            SELECT shop.shop_id FROM shop
                JOIN shop_schedule ON shop_schedule.shop_id = shop.shop_id
                LEFT JOIN shop_webhooks ON shop_webhooks.shop_id = shop.shop_id
            WHERE shop.connection_state = 'HEALTHY' AND shop.platform = ANY (of_platforms)
              AND (shop_webhooks.attempted_at IS NULL
                   OR shop_webhooks.attempted_at <= statement_timestamp() - check_interval
                   OR (shop_webhooks.attempted_at <= statement_timestamp() - retry_interval
                       AND (shop_webhooks.must_retry
                            OR shop_schedule.unannounced_at > shop_webhooks.attempted_at)))
            ORDER BY shop_schedule.unannounced_at > shop_webhooks.attempted_at DESC NULLS LAST,
                shop_webhooks.attempted_at NULLS FIRST, shop.shop_id
            LIMIT max_count;
    END $$"""


def _schema() -> str:
    """Return the quoted name of the schema with the tables."""
    context = op.get_context()
    if context.as_sql or context.connection is None:
        return "public"
    return str(context.connection.execute(text("SELECT quote_ident(current_schema())")).scalar_one())


def upgrade() -> None:
    op.execute("ALTER TABLE shop_schedule ADD COLUMN unannounced_at TIMESTAMP WITH TIME ZONE")
    op.execute(_TABLE)
    op.execute(f"CREATE POLICY of_shop ON shop_webhooks USING ({_POLICY}) WITH CHECK ({_POLICY})")
    op.execute("SELECT force_row_security('shop_webhooks')")
    op.execute(_DUE.format(schema=_schema()))
    op.execute("REVOKE EXECUTE ON FUNCTION due_webhook_checks FROM PUBLIC")
