-- Distributes the tables of catalog_svc over the workers of a Citus cluster by shop_id; see docs/scaling.md.
--
--   psql --set=ON_ERROR_STOP=1 --file=deploy/citus/distribute.sql URL
--
-- Run it as a superuser on the coordinator, after each `python -m catalog_svc migrate` and before catalog_svc starts. What is
-- distributed already stays as it is. The extension must exist before the first `migrate`, so that Citus creates the
-- functions and the roles' rights on the workers, too. The number of shards is that of citus.shard_count at the first run.
--
-- It has never been run on a Citus: the tests check its tables against the schema, and the rules of Citus as far as they
-- are known.

-- A table that is in neither list is of a newer release than this file: it would silently stay on the coordinator.
DO $$
DECLARE unknown text;
    -- What the transactions of one shop write.
    distributed CONSTANT text[] := ARRAY[
        'shop_state', 'sync', 'sync_history', 'sync_issue', 'sync_seen', 'obsolete_pass', 'product', 'item',
        'product_refresh', 'change_event', 'analysis_task', 'analysis_result'];
    -- Small, and read across shops: they stay ordinary tables of the coordinator.
    local CONSTANT text[] := ARRAY[
        'shop', 'shop_deletion', 'shop_schedule', 'sync_queue', 'refresh_queue', 'shop_audit', 'shop_webhooks',
        'analysis_queue', 'analysis_worker', 'idempotency_key', 'loop_lease', 'page_token_key', 'schema_compatibility',
        'change_feed', 'alembic_version'];
BEGIN
    SELECT string_agg(relname, ', ') INTO unknown FROM pg_class
    WHERE relnamespace = CAST(current_schema() AS regnamespace) AND relkind IN ('r', 'p') AND NOT relispartition
        AND relname <> ALL (distributed || local);
    IF unknown IS NOT NULL THEN
        RAISE EXCEPTION 'this file does not know the tables %: use that of the release that has migrated', unknown;
    END IF;
END $$;

-- Citus forwards SET LOCAL to the workers only with this setting. Without it row-level security hides every row there,
-- without an error, and the settings of single transactions for the planner have no effect. New sessions get it.
DO $$ BEGIN
    EXECUTE format('ALTER DATABASE %I SET citus.propagate_set_commands = %L', current_database(), 'local');
END $$;

-- It is for replicas of the release before change events, which cannot run on Citus; Citus distributes no table that
-- has a trigger.
DROP TRIGGER IF EXISTS change_of_older_release ON shop_state;

SELECT create_distributed_table('shop_state', 'shop_id')
WHERE NOT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = CAST('shop_state' AS regclass));

-- All tables of a shop on the shard of its write lock, so that a batch commits on one node.
SELECT create_distributed_table('sync', 'shop_id', colocate_with => 'shop_state')
WHERE NOT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = CAST('sync' AS regclass));

SELECT create_distributed_table('sync_history', 'shop_id', colocate_with => 'shop_state')
WHERE NOT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = CAST('sync_history' AS regclass));

SELECT create_distributed_table('sync_issue', 'shop_id', colocate_with => 'shop_state')
WHERE NOT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = CAST('sync_issue' AS regclass));

SELECT create_distributed_table('sync_seen', 'shop_id', colocate_with => 'shop_state')
WHERE NOT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = CAST('sync_seen' AS regclass));

SELECT create_distributed_table('obsolete_pass', 'shop_id', colocate_with => 'shop_state')
WHERE NOT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = CAST('obsolete_pass' AS regclass));

SELECT create_distributed_table('product', 'shop_id', colocate_with => 'shop_state')
WHERE NOT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = CAST('product' AS regclass));

SELECT create_distributed_table('item', 'shop_id', colocate_with => 'shop_state')
WHERE NOT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = CAST('item' AS regclass));

SELECT create_distributed_table('product_refresh', 'shop_id', colocate_with => 'shop_state')
WHERE NOT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = CAST('product_refresh' AS regclass));

SELECT create_distributed_table('change_event', 'shop_id', colocate_with => 'shop_state')
WHERE NOT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = CAST('change_event' AS regclass));

SELECT create_distributed_table('analysis_task', 'shop_id', colocate_with => 'shop_state')
WHERE NOT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = CAST('analysis_task' AS regclass));

SELECT create_distributed_table('analysis_result', 'shop_id', colocate_with => 'shop_state')
WHERE NOT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = CAST('analysis_result' AS regclass));

-- Statements on the tables above call these three, so the workers need them. All other functions run on the coordinator.
SELECT create_distributed_function('present_incarnation(uuid)');
SELECT create_distributed_function('matching_items(uuid, text, text, text, boolean)');
SELECT create_distributed_function('matching_products(uuid, text, boolean)');
