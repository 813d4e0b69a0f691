"""Change events: what changed in all shops, for followers of many shops, and functions that read and purge them.

The events are in the order of the ids of their transactions, `xid`. A reader reads the events below the oldest
transaction that may still commit; see docs/decisions/0051.
"""

from __future__ import annotations

from typing import Final

from alembic import op
from sqlalchemy import text

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_THIS_TRANSACTION: Final = "CAST(CAST(pg_current_xact_id() AS text) AS bigint)"
_HORIZON: Final = "CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint)"
"""The oldest transaction that may still commit: all below it have ended, and their rows are visible."""
_NEXT: Final = "CAST(CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text) AS bigint)"
"""Above all transactions that have ended: events from it on are of a database that was restored into this one."""
_SHOPS: Final = "CAST(string_to_array(current_setting('catalog.shop_ids', true), ',') AS uuid[])"
"""The shops of the transaction."""

_TABLES: Final = (
    "ALTER TABLE shop_state ADD COLUMN event_number BIGINT DEFAULT '0' NOT NULL",
    f"""
    CREATE TABLE change_event (
        shop_id UUID NOT NULL,
        number BIGINT NOT NULL,
        xid BIGINT DEFAULT {_THIS_TRANSACTION} NOT NULL,
        sync_id UUID,
        feed_position BIGINT NOT NULL,
        created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        CONSTRAINT change_event_pkey PRIMARY KEY (shop_id, number)
    ) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02)
    """,
    "CREATE INDEX change_event_by_xid ON change_event (xid)",
    f"""
    CREATE POLICY of_shop ON change_event
    USING (shop_id = ANY ({_SHOPS})) WITH CHECK (shop_id = ANY ({_SHOPS}))
    """,
    "SELECT force_row_security('change_event')",
    """
    CREATE TABLE change_feed (
        incarnation UUID DEFAULT gen_random_uuid() NOT NULL,
        floor BIGINT DEFAULT '0' NOT NULL
    )
    """,
    "INSERT INTO change_feed DEFAULT VALUES",
)

_FUNCTIONS: Final = {
    # The last event that can be read; and of those that are committed and must wait, the first one: it is the
    # oldest, or a little younger.
    """change_feed_state()
       RETURNS TABLE (incarnation uuid, floor bigint, last_xid bigint, horizon bigint, delay interval)""": """
        SELECT xid INTO newest FROM change_event WHERE xid < below ORDER BY xid DESC LIMIT 1;
        SELECT clock_timestamp() - created_at INTO waiting FROM change_event
            WHERE xid >= below AND xid < next_xid ORDER BY xid LIMIT 1;
        RETURN QUERY SELECT present_incarnation(change_feed.incarnation), change_feed.floor,
                greatest(change_feed.floor, newest), below, waiting
            FROM change_feed;""",
    # With ties: a transaction is read as a whole, so that its id alone is a position.
    """change_events(from_xid bigint, max_count integer)
       RETURNS TABLE (shop_id uuid, number bigint, xid bigint, sync_id uuid, feed_position bigint,
                      created_at timestamptz)""": """
        RETURN QUERY SELECT shop_id, number, xid, sync_id, feed_position, created_at FROM change_event
            WHERE xid >= from_xid AND xid < below
            ORDER BY xid FETCH FIRST max_count ROWS WITH TIES;""",
    # The oldest transactions first: whoever has read what is above the floor has missed nothing.
    "purge_change_events(older_than interval, max_count integer) RETURNS bigint": """
        SELECT max(oldest.xid) INTO newest FROM (
            SELECT xid, created_at FROM change_event WHERE xid < below ORDER BY xid LIMIT max_count
        ) AS oldest WHERE oldest.created_at < statement_timestamp() - older_than;
        IF newest IS NULL THEN
            RETURN 0;
        END IF;
        UPDATE change_feed SET floor = greatest(floor, newest);
        DELETE FROM change_event WHERE xid <= newest AND created_at < statement_timestamp() - older_than;
        GET DIAGNOSTICS deleted_count = ROW_COUNT;
        RETURN deleted_count;""",
}
"""Functions across shops, by their signature; they return ids, numbers and times."""

# Replicas of the release before write no events: the database writes those that they owe. The writers of this
# release take a number, which the condition of the trigger sees. A later migration drops both.
_EVENTS_OF_OLDER_RELEASES: Final = """
    CREATE OR REPLACE FUNCTION record_change_of_older_release() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp AS $$
    BEGIN
        IF NEW.feed_position <> OLD.feed_position OR NEW.deleting THEN
            NEW.event_number := NEW.event_number + 1;
            INSERT INTO change_event (shop_id, number, feed_position)
            VALUES (NEW.shop_id, NEW.event_number, NEW.feed_position);
        END IF;
        IF coalesce(NEW.active_sync_id, OLD.active_sync_id) IS NOT NULL AND NOT NEW.deleting
           AND (NEW.active_sync_id, NEW.epoch) IS DISTINCT FROM (OLD.active_sync_id, OLD.epoch) THEN
            NEW.event_number := NEW.event_number + 1;
            INSERT INTO change_event (shop_id, number, feed_position, sync_id)
            VALUES (NEW.shop_id, NEW.event_number, NEW.feed_position,
                coalesce(NEW.active_sync_id, OLD.active_sync_id));
        END IF;
        RETURN NEW;
    END $$"""
_TRIGGER: Final = """
    CREATE OR REPLACE TRIGGER change_of_older_release
    BEFORE UPDATE OF feed_position, active_sync_id, epoch, deleting ON shop_state FOR EACH ROW
    WHEN (NEW.event_number = OLD.event_number AND (NEW.feed_position, NEW.active_sync_id, NEW.epoch, NEW.deleting)
        IS DISTINCT FROM (OLD.feed_position, OLD.active_sync_id, OLD.epoch, OLD.deleting))
    EXECUTE FUNCTION record_change_of_older_release()"""


def _create_function(signature: str, body: str, schema: str) -> str:
    volatility = "VOLATILE" if "DELETE" in body else "STABLE"
    return f"""
    CREATE OR REPLACE FUNCTION {signature} LANGUAGE plpgsql {volatility} SECURITY DEFINER
    SET search_path = pg_catalog, {schema}, pg_temp
    SET plan_cache_mode = force_custom_plan
    AS $$
    #variable_conflict use_column
    DECLARE below bigint := {_HORIZON}; next_xid bigint := {_NEXT};
        newest bigint; waiting interval; deleted_count bigint;
    BEGIN {body}
    END $$"""


def _schema() -> str:
    """Return the quoted name of the schema with the tables."""
    context = op.get_context()
    if context.as_sql or context.connection is None:
        return "public"
    return str(context.connection.execute(text("SELECT quote_ident(current_schema())")).scalar_one())


def upgrade() -> None:
    schema = _schema()
    for statement in _TABLES:
        op.execute(statement)
    for signature, body in _FUNCTIONS.items():
        op.execute(_create_function(signature, body, schema))
        op.execute(f"REVOKE EXECUTE ON FUNCTION {signature.partition('(')[0]} FROM PUBLIC")
    op.execute(_EVENTS_OF_OLDER_RELEASES.format(schema=schema))
    op.execute("REVOKE EXECUTE ON FUNCTION record_change_of_older_release() FROM PUBLIC")
    op.execute(_TRIGGER)
