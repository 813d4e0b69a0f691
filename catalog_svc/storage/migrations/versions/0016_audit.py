"""The last audit of each shop. See docs/decisions/0053."""

from __future__ import annotations

from typing import Final

from alembic import op
from sqlalchemy import text

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_TABLE: Final = """
    CREATE TABLE shop_audit (
        shop_id UUID NOT NULL,
        attempted_at TIMESTAMP WITH TIME ZONE NOT NULL,
        ended_at TIMESTAMP WITH TIME ZONE,
        product_count BIGINT DEFAULT '0' NOT NULL,
        item_count BIGINT DEFAULT '0' NOT NULL,
        drifted_product_count BIGINT DEFAULT '0' NOT NULL,
        CONSTRAINT shop_audit_pkey PRIMARY KEY (shop_id)
    )"""

# As in 0011: any of the shops of the transaction.
_POLICY: Final = """shop_id = ANY (
        CAST(string_to_array(current_setting('catalog.shop_ids', true), ',') AS uuid[]))"""

_DUE: Final = """
    CREATE OR REPLACE FUNCTION due_audits(audit_interval interval, max_count integer)
    RETURNS SETOF uuid LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, {schema}, pg_temp
    SET plan_cache_mode = force_custom_plan
    AS $$
    #variable_conflict use_column
    BEGIN
        RETURN QUERY
            SELECT shop.shop_id FROM shop LEFT JOIN shop_audit ON shop_audit.shop_id = shop.shop_id
            WHERE shop.connection_state = 'HEALTHY'
              AND (shop_audit.attempted_at IS NULL
                   OR shop_audit.attempted_at <= statement_timestamp() - audit_interval)
            ORDER BY shop_audit.attempted_at NULLS FIRST, shop.shop_id LIMIT max_count;
    END $$"""


def _schema() -> str:
    """Return the quoted name of the schema with the tables."""
    context = op.get_context()
    if context.as_sql or context.connection is None:
        return "public"
    return str(context.connection.execute(text("SELECT quote_ident(current_schema())")).scalar_one())


def upgrade() -> None:
    op.execute(_TABLE)
    op.execute(f"CREATE POLICY of_shop ON shop_audit USING ({_POLICY}) WITH CHECK ({_POLICY})")
    op.execute("SELECT force_row_security('shop_audit')")
    op.execute(_DUE.format(schema=_schema()))
    op.execute("REVOKE EXECUTE ON FUNCTION due_audits FROM PUBLIC")
