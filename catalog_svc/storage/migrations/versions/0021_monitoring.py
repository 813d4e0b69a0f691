"""Counts over all shops, for metrics. See docs/decisions/0061."""

from __future__ import annotations

from typing import Final

from alembic import op
from sqlalchemy import text

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

_FUNCTIONS: Final = {
    # One scan of a table with a row per active sync, as `pending_syncs`, which older releases call.
    "active_syncs": """()
    RETURNS TABLE (platform text, pending_count bigint, oldest_pending_age interval, running_count bigint,
                   unowned_count bigint, longest_unowned interval)
    LANGUAGE plpgsql STABLE SECURITY DEFINER {settings} AS $$
    #variable_conflict use_column
    BEGIN
        RETURN QUERY SELECT sync_queue.platform,
                count(*) FILTER (WHERE lease_until IS NULL),
                statement_timestamp() - min(created_at) FILTER (WHERE lease_until IS NULL),
                count(*) FILTER (WHERE lease_until > statement_timestamp()),
                count(*) FILTER (WHERE lease_until <= statement_timestamp()),
                statement_timestamp() - min(lease_until) FILTER (WHERE lease_until <= statement_timestamp())
            FROM sync_queue GROUP BY sync_queue.platform;
    END $$""",
    # By the first bound that is not below the age of the watermark; the group of shops without one is NULL.
    "shop_freshness": """(bounds_seconds double precision[])
    RETURNS TABLE (age_group integer, shop_count bigint, sum_seconds double precision)
    LANGUAGE plpgsql STABLE SECURITY DEFINER {settings} AS $$
    #variable_conflict use_column
    BEGIN
        RETURN QUERY SELECT width_bucket(one.seconds, bounds_seconds), count(*), sum(one.seconds)
            FROM (
                -- Not extract(): it returns NUMERIC, which is slower.
                SELECT CASE WHEN watermark IS NOT NULL
                    THEN greatest(0, date_part('epoch', statement_timestamp() - watermark)) END AS seconds
                FROM shop_state WHERE NOT deleting) AS one
            GROUP BY 1;
    END $$""",
    "analysis_task_counts": """(max_count integer)
    RETURNS TABLE (analyzer text, pending_count bigint, leased_count bigint, dead_count bigint,
                   oldest_age interval)
    LANGUAGE plpgsql STABLE SECURITY DEFINER {settings} AS $$
    #variable_conflict use_column
    BEGIN
        RETURN QUERY SELECT analysis_task.analyzer,
                count(*) FILTER (
                    WHERE NOT dead AND (worker_id IS NULL OR available_at <= statement_timestamp())),
                count(*) FILTER (
                    WHERE NOT dead AND worker_id IS NOT NULL AND available_at > statement_timestamp()),
                count(*) FILTER (WHERE dead),
                statement_timestamp() - min(created_at) FILTER (WHERE NOT dead)
            FROM analysis_task GROUP BY analysis_task.analyzer ORDER BY count(*) DESC LIMIT max_count;
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
    settings = _SETTINGS.format(schema=_schema())
    for name, definition in _FUNCTIONS.items():
        op.execute(f"CREATE OR REPLACE FUNCTION {name}{definition.replace('{settings}', settings)}")
        op.execute(f"REVOKE EXECUTE ON FUNCTION {name} FROM PUBLIC")
