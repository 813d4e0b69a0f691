"""Tenant isolation: forced row-level security on every table with a shop_id, and functions for what crosses shops.

A transaction names the shops that it may see in the setting `catalog.shop_ids`. The policy `of_shop` compares each
row with it; `of_owner` lets the tables' owner see all rows, so that releases that connect as the owner keep
working, and the functions below, which run with the owner's rights. See docs/decisions/0042.
"""

from __future__ import annotations

from typing import Final

from alembic import op
from sqlalchemy import text

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_THE_SHOP: Final = "CAST(NULLIF(current_setting('catalog.shop_ids', true), '') AS uuid)"
"""The one shop of the transaction. Equality with a constant becomes a check once per scan, and costs an INSERT of
many rows less than a list does; with more shops it is an error."""
_SHOPS: Final = "CAST(string_to_array(current_setting('catalog.shop_ids', true), ',') AS uuid[])"
"""The shops of the transaction."""

_TABLES_OF_ONE_SHOP: Final = ("product", "item", "sync_seen", "sync_issue", "obsolete_pass")
_TABLES_OF_SHOPS: Final = (
    *("shop_state", "sync", "sync_history", "shop", "shop_deletion", "shop_schedule", "sync_queue"),
    "idempotency_key",
)
_POLICIES: Final = {
    **dict.fromkeys(_TABLES_OF_ONE_SHOP, f"shop_id = {_THE_SHOP}"),
    **dict.fromkeys(_TABLES_OF_SHOPS, f"shop_id = ANY ({_SHOPS})"),
}
_CUTOFF: Final = "statement_timestamp() - older_than"
_CLAIMABLE: Final = "(lease_until IS NULL OR lease_until < clock_timestamp())"

# A partition created later has the same protection. The owner of the relation, not the current user: the two may
# differ, and both the functions and older releases rely on the policy.
_FORCE: Final = """
    CREATE OR REPLACE FUNCTION force_row_security(relation regclass) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        EXECUTE format('DROP POLICY IF EXISTS of_owner ON %s', relation);
        EXECUTE format('CREATE POLICY of_owner ON %s TO %I USING (true)', relation,
            (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = relation));
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', relation);
    END $$"""

_PARTITIONS: Final = """
    DO $$ BEGIN
        PERFORM force_row_security(CAST(inhrelid AS regclass)) FROM pg_inherits
        WHERE inhparent IN (CAST('sync_history' AS regclass), CAST('sync_issue' AS regclass));
    END $$"""

_READS: Final = {
    # --- One shop, by what a caller knows of it
    "find_shop_id(wanted_platform text, wanted_domain text) RETURNS SETOF uuid": """
        RETURN QUERY SELECT shop_id FROM shop WHERE platform = wanted_platform AND domain = wanted_domain;""",
    "find_deletion_id(wanted_platform text, wanted_domain text, only_active boolean) RETURNS SETOF uuid": """
        RETURN QUERY SELECT shop_id FROM shop_deletion
            WHERE platform = wanted_platform AND domain = wanted_domain AND (ended_at IS NULL OR NOT only_active)
            ORDER BY started_at DESC LIMIT 1;""",
    """find_request(wanted_principal text, wanted_method text, wanted_id text, wanted_hash bytea)
       RETURNS TABLE (sync_id uuid, is_same boolean)""": """
        RETURN QUERY SELECT sync_id, request_hash = wanted_hash FROM idempotency_key
            WHERE principal = wanted_principal AND method = wanted_method AND request_id = wanted_id;""",
    # --- Lists over all shops: the ids of a page
    """shop_page(after_id uuid, of_merchant text, of_platform text, of_connection text, of_domain text,
                 max_count integer) RETURNS SETOF uuid""": """
        RETURN QUERY SELECT shop_id FROM shop
            WHERE shop_id > after_id
              AND (of_merchant = '' OR merchant_id = of_merchant AND merchant_id <> '')
              AND (of_platform = '' OR platform = of_platform)
              AND (of_connection = '' OR connection_state = of_connection AND connection_state <> '')
              AND (of_domain = '' OR domain = of_domain)
            ORDER BY shop_id LIMIT max_count;""",
    """same_store_shops(of_shops uuid[], of_platform_shop_id text, of_merchant text, of_domain text)
       RETURNS TABLE (shop_id uuid, same_store_id uuid)""": f"""
        RETURN QUERY SELECT shop.shop_id, other.shop_id FROM shop JOIN shop AS other
                ON other.platform = shop.platform AND other.platform_shop_id <> ''
                AND other.platform_shop_id = coalesce(of_platform_shop_id, shop.platform_shop_id)
            WHERE shop.shop_id = ANY (of_shops) AND shop.shop_id = ANY ({_SHOPS}) AND other.shop_id <> shop.shop_id
              AND (of_merchant = '' OR other.merchant_id = of_merchant)
              AND (of_domain = '' OR other.domain = of_domain)
            ORDER BY shop.shop_id, other.shop_id;""",
    # A scan of each table and state in the order of the page, and of each shop of a merchant or a domain: at most
    # `max_count` rows of each, which the caller sorts. Each state is a query of its own, since the planner does
    # not know how frequent a state is that it reads from a row.
    """sync_page(of_states text[], before_time timestamptz, before_id uuid, max_count integer, of_merchant text,
                 of_domain text) RETURNS TABLE (shop_id uuid, sync_id uuid, created_at timestamptz)""": """
        IF of_merchant <> '' OR of_domain <> '' THEN
            of_shops := ARRAY(SELECT shop.shop_id FROM shop
                WHERE (of_merchant = '' OR merchant_id = of_merchant AND merchant_id <> '')
                  AND (of_domain = '' OR domain = of_domain));
            RETURN QUERY SELECT page.shop_id, page.sync_id, page.created_at
                FROM unnest(of_shops) AS one (shop_id) CROSS JOIN LATERAL (
                    (SELECT sync.shop_id, sync.sync_id, sync.created_at FROM sync
                     WHERE sync.shop_id = one.shop_id
                       AND (sync.created_at, sync.sync_id) < (before_time, before_id)
                       AND (of_states = '{}' OR sync.state = ANY (of_states))
                     ORDER BY sync.sync_id DESC LIMIT max_count)
                    UNION ALL
                    (SELECT sync.shop_id, sync.sync_id, sync.created_at FROM sync_history AS sync
                     WHERE sync.shop_id = one.shop_id
                       AND (sync.created_at, sync.sync_id) < (before_time, before_id)
                       AND (of_states = '{}' OR sync.state = ANY (of_states))
                     ORDER BY sync.sync_id DESC LIMIT max_count)) AS page
                ORDER BY page.created_at DESC, page.sync_id DESC LIMIT max_count;
        ELSIF of_states = '{}' THEN
            RETURN QUERY SELECT sync.shop_id, sync.sync_id, sync.created_at FROM sync
                WHERE (sync.created_at, sync.sync_id) < (before_time, before_id)
                ORDER BY sync.created_at DESC, sync.sync_id DESC LIMIT max_count;
            RETURN QUERY SELECT sync.shop_id, sync.sync_id, sync.created_at FROM sync_history AS sync
                WHERE (sync.created_at, sync.sync_id) < (before_time, before_id)
                ORDER BY sync.created_at DESC, sync.sync_id DESC LIMIT max_count;
        ELSE
            FOREACH of_state IN ARRAY of_states LOOP
                RETURN QUERY SELECT sync.shop_id, sync.sync_id, sync.created_at FROM sync
                    WHERE sync.state = of_state AND (sync.created_at, sync.sync_id) < (before_time, before_id)
                    ORDER BY sync.created_at DESC, sync.sync_id DESC LIMIT max_count;
                RETURN QUERY SELECT sync.shop_id, sync.sync_id, sync.created_at FROM sync_history AS sync
                    WHERE sync.state = of_state AND (sync.created_at, sync.sync_id) < (before_time, before_id)
                    ORDER BY sync.created_at DESC, sync.sync_id DESC LIMIT max_count;
            END LOOP;
        END IF;""",
    # --- What the watchers of a replica follow
    # DISTINCT lets the planner expect few of them: for a join with thousands it would read all syncs.
    """changed_revisions(known_shops uuid[], known_syncs uuid[], known_revisions bigint[])
       RETURNS TABLE (found_count bigint, changed_ids uuid[], changed_revisions bigint[])""": """
        RETURN QUERY SELECT count(*),
                array_agg(sync.sync_id) FILTER (WHERE sync.revision <> known.revision),
                array_agg(sync.revision) FILTER (WHERE sync.revision <> known.revision)
            FROM sync JOIN (
                SELECT DISTINCT ids.shop_id, ids.sync_id, ids.revision
                FROM unnest(known_shops, known_syncs, known_revisions) AS ids (shop_id, sync_id, revision)
            ) AS known
            ON sync.shop_id = known.shop_id AND sync.sync_id = known.sync_id;""",
    """stored_revisions(known_shops uuid[], known_syncs uuid[], of_history boolean)
       RETURNS TABLE (sync_id uuid, revision bigint)""": """
        IF of_history THEN
            RETURN QUERY SELECT sync.sync_id, sync.revision FROM sync_history AS sync
                WHERE (sync.shop_id, sync.sync_id) IN (
                    SELECT ids.shop_id, ids.sync_id
                    FROM unnest(known_shops, known_syncs) AS ids (shop_id, sync_id));
        ELSE
            RETURN QUERY SELECT sync.sync_id, sync.revision FROM sync
                WHERE (sync.shop_id, sync.sync_id) IN (
                    SELECT ids.shop_id, ids.sync_id
                    FROM unnest(known_shops, known_syncs) AS ids (shop_id, sync_id));
        END IF;""",
    # The front of each platform's queue by one index scan, however many positions of that platform are wanted. A
    # sync that is not claimable has a worker already, or was found by one that tries again in a moment.
    """queue_positions(wanted_shops uuid[], wanted_syncs uuid[], max_position bigint)
       RETURNS TABLE (sync_id uuid, queue_position bigint)""": f"""
        RETURN QUERY
            WITH wanted AS MATERIALIZED (
                SELECT sync_queue.sync_id, sync_queue.platform, {_CLAIMABLE} AS claimable
                FROM unnest(wanted_shops, wanted_syncs) AS ids (shop_id, sync_id)
                JOIN sync_queue ON sync_queue.shop_id = ids.shop_id AND sync_queue.sync_id = ids.sync_id),
            front AS MATERIALIZED (
                SELECT first.sync_id, first.place
                FROM (SELECT DISTINCT wanted.platform FROM wanted) AS platforms CROSS JOIN LATERAL (
                    SELECT sync_queue.sync_id, row_number() OVER (ORDER BY priority, queue_number) - 1 AS place
                    FROM sync_queue WHERE sync_queue.platform = platforms.platform AND {_CLAIMABLE}
                    ORDER BY priority, queue_number LIMIT max_position) AS first)
            SELECT wanted.sync_id, CASE WHEN wanted.claimable THEN coalesce(front.place, max_position) ELSE 0 END
            FROM wanted LEFT JOIN front ON front.sync_id = wanted.sync_id;""",
    # One scan of the whole table, which has a row per active sync: 8 ms for 20,000 pending and 5,000 running ones.
    "pending_syncs() RETURNS TABLE (platform text, pending_count bigint, oldest_age interval)": """
        RETURN QUERY SELECT sync_queue.platform, count(*), statement_timestamp() - min(sync_queue.created_at)
            FROM sync_queue WHERE sync_queue.lease_until IS NULL GROUP BY sync_queue.platform;""",
    # --- Schedules
    "unplanned_shops(max_count integer) RETURNS SETOF uuid": """
        RETURN QUERY SELECT shop_id FROM shop_schedule WHERE planned_full_interval IS NULL LIMIT max_count;""",
    # A loose index scan for the platforms, and one index scan for each: the shops that are due longest. No more
    # than `most_per_platform` scheduled syncs of a platform wait for a worker at a time. A volatile function such
    # as clock_timestamp() would be no index condition: the scan would read all shops of a platform.
    """due_shops(most_per_platform integer, max_count integer)
       RETURNS TABLE (shop_id uuid, due_at timestamptz)""": """
        RETURN QUERY
            WITH RECURSIVE planned (platform) AS (
                SELECT min(shop_schedule.platform) FROM shop_schedule WHERE next_due_at IS NOT NULL
                UNION ALL
                SELECT (SELECT min(shop_schedule.platform) FROM shop_schedule
                        WHERE shop_schedule.platform > planned.platform AND next_due_at IS NOT NULL)
                FROM planned WHERE planned.platform IS NOT NULL),
            free AS (
                SELECT planned.platform, most_per_platform - (
                    SELECT count(*) FROM (
                        SELECT FROM sync_queue
                        WHERE sync_queue.platform = planned.platform AND priority = 1 AND lease_until IS NULL
                        LIMIT most_per_platform) AS waiting) AS places
                FROM planned WHERE planned.platform IS NOT NULL)
            SELECT first.shop_id, first.next_due_at FROM free CROSS JOIN LATERAL (
                SELECT schedule.shop_id, schedule.next_due_at FROM shop_schedule AS schedule
                WHERE schedule.platform = free.platform AND schedule.next_due_at <= statement_timestamp()
                ORDER BY schedule.next_due_at LIMIT greatest(0, least(free.places, max_count))) AS first
            ORDER BY first.next_due_at LIMIT max_count;""",
    # --- Retention and deletions
    "active_deletions(max_count integer) RETURNS SETOF uuid": """
        RETURN QUERY SELECT shop_id FROM shop_deletion WHERE ended_at IS NULL ORDER BY started_at
            LIMIT max_count;""",
    "find_obsolete_pass() RETURNS TABLE (shop_id uuid, pass_id uuid)": """
        RETURN QUERY SELECT obsolete_pass.shop_id, obsolete_pass.pass_id FROM obsolete_pass
            ORDER BY obsolete_pass.shop_id, obsolete_pass.pass_id LIMIT 1;""",
    "find_shop_with_tombstones(older_than interval) RETURNS SETOF uuid": f"""
        RETURN QUERY SELECT shop_id FROM shop_state WHERE oldest_tombstone_at < {_CUTOFF}
            ORDER BY oldest_tombstone_at LIMIT 1;""",
    # --- Text search: under row-level security ILIKE is no index condition. Only of the transaction's shop.
    """matching_items(of_shop uuid, wanted_pattern text, of_sku text, of_product text, with_deleted boolean)
       RETURNS TABLE (product_id text, item_id text, feed_position bigint, is_deleted boolean)""": f"""
        RETURN QUERY SELECT item.product_id, item.item_id, item.feed_position, item.deleted_at IS NOT NULL
            FROM item
            WHERE item.shop_id = of_shop AND of_shop = {_THE_SHOP} AND item.title ILIKE wanted_pattern
              AND (with_deleted OR item.deleted_at IS NULL)
              AND (of_sku = '' OR item.sku = of_sku) AND (of_product = '' OR item.product_id = of_product);""",
    """matching_products(of_shop uuid, wanted_pattern text, with_deleted boolean)
       RETURNS SETOF text""": f"""
        RETURN QUERY SELECT product.product_id FROM product
            WHERE product.shop_id = of_shop AND of_shop = {_THE_SHOP} AND product.title ILIKE wanted_pattern
              AND (with_deleted OR product.deleted_at IS NULL);""",
}
"""Functions that read, by their signature."""

_WRITES: Final = {
    # The best candidates of each platform by one index scan each, then the best of them that are not locked: a
    # claim waits neither for another replica's claim nor for a renewal.
    """claim_syncs(max_count integer, max_candidates integer, without_platforms text[], known_modes text[],
                   claimant uuid, lease_ttl interval)
       RETURNS TABLE (shop_id uuid, sync_id uuid, epoch bigint, priority integer, queue_number bigint)""": f"""
        RETURN QUERY
            WITH RECURSIVE queued (platform) AS (
                SELECT min(sync_queue.platform) FROM sync_queue
                UNION ALL
                SELECT (SELECT min(sync_queue.platform) FROM sync_queue
                        WHERE sync_queue.platform > queued.platform)
                FROM queued WHERE queued.platform IS NOT NULL),
            candidate AS (
                SELECT best.shop_id FROM queued CROSS JOIN LATERAL (
                    SELECT sync_queue.shop_id, sync_queue.priority, sync_queue.queue_number FROM sync_queue
                    WHERE sync_queue.platform = queued.platform AND {_CLAIMABLE}
                      AND sync_queue.mode = ANY (known_modes)
                    ORDER BY sync_queue.priority, sync_queue.queue_number LIMIT max_candidates) AS best
                WHERE queued.platform IS NOT NULL AND queued.platform <> ALL (without_platforms)
                ORDER BY best.priority, best.queue_number LIMIT max_candidates),
            claimed AS (
                SELECT sync_queue.shop_id FROM sync_queue
                WHERE sync_queue.shop_id IN (SELECT candidate.shop_id FROM candidate) AND {_CLAIMABLE}
                ORDER BY sync_queue.priority, sync_queue.queue_number LIMIT max_count FOR UPDATE SKIP LOCKED)
            UPDATE sync_queue SET epoch = sync_queue.epoch + 1, owner = claimant,
                lease_until = clock_timestamp() + lease_ttl
            FROM claimed JOIN shop ON shop.shop_id = claimed.shop_id
            WHERE sync_queue.shop_id = claimed.shop_id
            RETURNING sync_queue.shop_id, sync_queue.sync_id, sync_queue.epoch, sync_queue.priority,
                sync_queue.queue_number;""",
    "reset_planned_schedules(default_incremental interval, default_full interval) RETURNS bigint": """
        UPDATE shop_schedule SET planned_incremental_interval = NULL, planned_full_interval = NULL
            WHERE planned_full_interval IS NOT NULL
              AND (planned_incremental_interval, planned_full_interval)
                  IS DISTINCT FROM (default_incremental, default_full);
        GET DIAGNOSTICS changed_count = ROW_COUNT;
        RETURN changed_count;""",
    "purge_requests(older_than interval, max_count integer) RETURNS bigint": f"""
        DELETE FROM idempotency_key WHERE (principal, method, request_id) IN (
            SELECT principal, method, request_id FROM idempotency_key WHERE created_at < {_CUTOFF}
            LIMIT max_count);
        GET DIAGNOSTICS changed_count = ROW_COUNT;
        RETURN changed_count;""",
    "purge_deletions(older_than interval, max_count integer) RETURNS bigint": f"""
        DELETE FROM shop_deletion WHERE shop_id IN (
            SELECT shop_id FROM shop_deletion WHERE ended_at < {_CUTOFF} LIMIT max_count);
        GET DIAGNOSTICS changed_count = ROW_COUNT;
        RETURN changed_count;""",
    # At most one hour's rows, and at least the oldest one.
    "purge_unpartitioned(history_before timestamptz, issues_before timestamptz) RETURNS bigint": """
        DELETE FROM sync_history_default WHERE ended_at <= least(history_before, (
            SELECT min(ended_at) + interval '1 hour' FROM sync_history_default
            HAVING min(ended_at) < history_before));
        GET DIAGNOSTICS changed_count = ROW_COUNT;
        DELETE FROM sync_issue_default WHERE created_at <= least(issues_before, (
            SELECT min(created_at) + interval '1 hour' FROM sync_issue_default
            HAVING min(created_at) < issues_before));
        GET DIAGNOSTICS more_count = ROW_COUNT;
        RETURN changed_count + more_count;""",
    "create_month_partition(parent text, month date) RETURNS void": """
        IF parent NOT IN ('sync_history', 'sync_issue') OR month <> date_trunc('month', month) THEN
            RAISE invalid_parameter_value USING MESSAGE = 'no table with partitions, or no first of a month';
        END IF;
        name := format('%s.%I', (SELECT CAST(relnamespace AS regnamespace) FROM pg_class
            WHERE oid = CAST(parent AS regclass)), parent || to_char(month, '_YYYY_MM'));
        EXECUTE format('CREATE TABLE IF NOT EXISTS %s PARTITION OF %I FOR VALUES FROM (%L) TO (%L)', name, parent,
            to_char(month, 'YYYY-MM-DD UTC'), to_char(month + interval '1 month', 'YYYY-MM-DD UTC'));
        PERFORM force_row_security(CAST(name AS regclass));""",
    "drop_month_partition(parent text, month date) RETURNS void": """
        IF parent NOT IN ('sync_history', 'sync_issue') OR month <> date_trunc('month', month) THEN
            RAISE invalid_parameter_value USING MESSAGE = 'no table with partitions, or no first of a month';
        END IF;
        EXECUTE format('DROP TABLE %I', parent || to_char(month, '_YYYY_MM'));""",
    "analyze_catalog() RETURNS void": "ANALYZE (SKIP_LOCKED) item, product;",
}
"""Functions that write, by their signature."""

_DECLARATIONS: Final = {
    "sync_page": "of_shops uuid[]; of_state text;",
    "reset_planned_schedules": "changed_count bigint;",
    "purge_requests": "changed_count bigint;",
    "purge_deletions": "changed_count bigint;",
    "purge_unpartitioned": "changed_count bigint; more_count bigint;",
    "create_month_partition": "name text;",
}


def _create_function(signature: str, body: str, volatility: str, schema: str) -> str:
    """Return the statement. pg_temp is last: a caller's temporary table must not stand for one of ours."""
    declarations = _DECLARATIONS.get(signature.partition("(")[0], "")
    return f"""
    CREATE OR REPLACE FUNCTION {signature} LANGUAGE plpgsql {volatility} SECURITY DEFINER
    SET search_path = pg_catalog, {schema}, pg_temp
    SET plan_cache_mode = force_custom_plan
    AS $$
    #variable_conflict use_column
    DECLARE {declarations}
    BEGIN {body}
    END $$"""


def _schema() -> str:
    """Return the quoted name of the schema with the tables."""
    context = op.get_context()
    if context.as_sql or context.connection is None:
        return "public"
    return str(context.connection.execute(text("SELECT quote_ident(current_schema())")).scalar_one())


def upgrade() -> None:
    # One short transaction for each table: none waits for the locks of the others.
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS shop_by_domain")
        op.execute("CREATE INDEX CONCURRENTLY IF NOT EXISTS shop_by_domain ON shop (domain, shop_id)")
    schema = _schema()
    op.execute(_FORCE)
    op.execute("REVOKE EXECUTE ON FUNCTION force_row_security(regclass) FROM PUBLIC")
    for functions, volatility in ((_READS, "STABLE"), (_WRITES, "VOLATILE")):
        for signature, body in functions.items():
            op.execute(_create_function(signature, body, volatility, schema))
            op.execute(f"REVOKE EXECUTE ON FUNCTION {signature.partition('(')[0]} FROM PUBLIC")
    with op.get_context().autocommit_block():
        for table, condition in _POLICIES.items():
            op.execute(f"DROP POLICY IF EXISTS of_shop ON {table}")
            op.execute(f"CREATE POLICY of_shop ON {table} USING ({condition}) WITH CHECK ({condition})")
            op.execute(f"SELECT force_row_security('{table}')")
        op.execute(_PARTITIONS)
