"""Functions of the item feed: the incarnation of positions in this database, and positions of several shops."""

from __future__ import annotations

from typing import Final

from alembic import op
from sqlalchemy import text

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

# A copy of a row in another place is another history of positions, though it has the stored incarnation. What
# differs there: the system identifier after a restore into another cluster, the ids of the database and of the
# table after a restore into another database or over the old tables, the timeline after a recovery to a point in
# time and after a failover, which may have lost commits. A server that does not say so much leaves less to
# compare.
_INCARNATION: Final = """
    CREATE OR REPLACE FUNCTION present_incarnation(stored uuid) RETURNS uuid
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp AS $$
    DECLARE identity text;
    BEGIN
        -- base/<id of the database>/<file>
        identity := concat_ws('/', split_part(pg_relation_filepath(CAST('shop_state' AS regclass)), '/', -2),
            CAST(CAST('shop_state' AS regclass) AS oid));
        BEGIN
            identity := concat_ws('/', identity, (SELECT system_identifier FROM pg_control_system()),
                substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8));
        EXCEPTION WHEN insufficient_privilege OR feature_not_supported OR undefined_function THEN
            NULL;
        END;
        RETURN CAST(md5(concat_ws('/', stored, identity)) AS uuid);
    END $$"""

# Of all shops that are followed on a replica, in one query.
_HEADS: Final = """
    CREATE OR REPLACE FUNCTION feed_heads(of_shops uuid[])
    RETURNS TABLE (shop_id uuid, feed_position bigint) LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, {schema}, pg_temp
    SET plan_cache_mode = force_custom_plan
    AS $$
    #variable_conflict use_column
    BEGIN
        RETURN QUERY SELECT shop_state.shop_id, shop_state.feed_position FROM shop_state
            WHERE shop_state.shop_id = ANY (of_shops) AND NOT shop_state.deleting;
    END $$"""


def _schema() -> str:
    """Return the quoted name of the schema with the tables."""
    context = op.get_context()
    if context.as_sql or context.connection is None:
        return "public"
    return str(context.connection.execute(text("SELECT quote_ident(current_schema())")).scalar_one())


def upgrade() -> None:
    schema = _schema()
    for function in (_INCARNATION, _HEADS):
        op.execute(function.format(schema=schema))
    for signature in ("present_incarnation(uuid)", "feed_heads(uuid[])"):
        op.execute(f"REVOKE EXECUTE ON FUNCTION {signature} FROM PUBLIC")
