"""The rules find what Citus refuses, and accept what it runs."""

from __future__ import annotations

import pytest

from catalog_svc.storage.products import STAGE_ITEM
from tests.architecture.citus.recorder import Executed, Transaction
from tests.architecture.citus.rules import Rule, check

BAD = [
    # Not bound to one shop.
    (Rule.NOT_BOUND, "SELECT title FROM item WHERE item_id = $1"),
    (Rule.NOT_BOUND, "SELECT title FROM item WHERE shop_id = ANY($1)"),
    (Rule.NOT_BOUND, "SELECT title FROM item WHERE shop_id IN ($1, $2)"),
    (Rule.NOT_BOUND, "SELECT title FROM item WHERE shop_id = $1 OR item_id = $2"),
    (Rule.NOT_BOUND, "SELECT title FROM item WHERE shop_id = 'e0000000-0000-8000-8000-000000000000'"),
    (Rule.NOT_BOUND, "SELECT title FROM item WHERE shop_id = (SELECT max(shop_id) FROM sync WHERE shop_id = $1)"),
    (
        Rule.NOT_BOUND,
        "SELECT 1 FROM item JOIN product ON product.product_id = item.product_id WHERE item.shop_id = $1",
    ),
    (Rule.NOT_BOUND, "SELECT 1 FROM item LEFT JOIN product ON product.shop_id = $1 AND item.shop_id = $1"),
    (Rule.NOT_BOUND, "SELECT 1 FROM product FULL JOIN item ON product.shop_id = $1 AND item.shop_id = $1"),
    (Rule.NOT_BOUND, "SELECT 1 FROM item, product WHERE item.shop_id = $1 AND product.shop_id <> item.shop_id"),
    # Citus does not see through the condition of the outer query.
    (
        Rule.NOT_BOUND,
        "SELECT 1 FROM product WHERE shop_id = $1"
        " AND EXISTS (SELECT FROM item WHERE item.shop_id = product.shop_id)",
    ),
    (Rule.NOT_BOUND, "SELECT 1 FROM sync WHERE shop_id = $1 UNION ALL SELECT 1 FROM sync_history"),
    (Rule.NOT_BOUND, "WITH old AS (DELETE FROM sync RETURNING shop_id) SELECT count(*) FROM old"),
    (Rule.NOT_BOUND, "UPDATE item SET title = $1 FROM product WHERE item.shop_id = $2"),
    (Rule.NOT_BOUND, "DELETE FROM item USING product WHERE product.shop_id = $1"),
    (Rule.NOT_BOUND, "INSERT INTO sync_seen (pass_id, product_id) VALUES ($1, $2)"),
    (Rule.NOT_BOUND, "INSERT INTO sync_seen (shop_id) VALUES (gen_random_uuid())"),
    (Rule.NOT_BOUND, f"INSERT INTO item (item_id, shop_id) SELECT item_id, product_id FROM {STAGE_ITEM}"),
    (Rule.NOT_BOUND, "INSERT INTO sync_history (shop_id) SELECT shop_id FROM sync"),
    (Rule.TWO_SHOPS, "SELECT 1 FROM item, product WHERE item.shop_id = $1 AND product.shop_id = $2"),
    (Rule.TWO_SHOPS, "INSERT INTO sync_seen (shop_id) VALUES ($1), ($2)"),
    # Tables.
    (Rule.BOTH_GROUPS, "SELECT 1 FROM sync JOIN shop ON shop.shop_id = sync.shop_id WHERE sync.shop_id = $1"),
    (Rule.BOTH_GROUPS, "SELECT 1 FROM item WHERE shop_id = $1 AND EXISTS (SELECT FROM shop WHERE shop_id = $1)"),
    (Rule.UNKNOWN_TABLE, "SELECT 1 FROM new_table WHERE shop_id = $1"),
    (Rule.PG_CLASS, "SELECT 1 FROM item, pg_class WHERE item.shop_id = $1"),
    (Rule.PG_CLASS, "SELECT reltuples FROM pg_class WHERE oid = CAST('item' AS regclass)"),
    # Functions.
    (Rule.VOLATILE, "UPDATE item SET updated_at = clock_timestamp() WHERE shop_id = $1"),
    (Rule.VOLATILE, "DELETE FROM item WHERE shop_id = $1 AND deleted_at < clock_timestamp()"),
    (Rule.VOLATILE, "UPDATE shop_state SET incarnation = gen_random_uuid() WHERE shop_id = $1"),
    (Rule.VOLATILE, "UPDATE sync SET epoch = nextval('epochs') WHERE shop_id = $1"),
    (
        Rule.VOLATILE,
        "WITH w AS (UPDATE item SET title = '' WHERE shop_id = $1 RETURNING 1) SELECT random() FROM w",
    ),
    (Rule.VOLATILE, "WITH t AS (SELECT random() AS r) UPDATE item SET title = t.r FROM t WHERE item.shop_id = $1"),
    (Rule.STABLE_OF_COLUMN, "UPDATE sync SET ended_at = created_at + CAST($2 AS interval) WHERE shop_id = $1"),
    (Rule.STABLE_OF_COLUMN, "DELETE FROM sync WHERE shop_id = $1 AND current_setting(strategy) = ''"),
    (Rule.UNKNOWN_FUNCTION, "SELECT digest(title) FROM item WHERE shop_id = $1"),
    (Rule.SET_CONFIG, "SELECT set_config('lock_timeout', '1s', true) FROM sync WHERE shop_id = $1"),
    (Rule.LIMIT_SUBQUERY, "SELECT 1 FROM sync WHERE shop_id = $1 LIMIT (SELECT 5)"),
    (Rule.LIMIT_SUBQUERY, "SELECT 1 FROM sync WHERE shop_id = $1 OFFSET (SELECT 5)"),
    # Not immutable.
    (Rule.NOT_IMMUTABLE, "UPDATE sync SET state = $2 WHERE shop_id = $1 RETURNING statement_timestamp()"),
    (Rule.NOT_IMMUTABLE, "UPDATE sync SET state = $2 WHERE shop_id = $1 RETURNING waiting_until - progressed_at"),
    (Rule.NOT_IMMUTABLE, "INSERT INTO sync_seen (shop_id) VALUES ($1) RETURNING current_timestamp"),
    (
        Rule.NOT_IMMUTABLE,
        "UPDATE sync SET state = CASE WHEN waiting_until > statement_timestamp() THEN $2 END WHERE shop_id = $1",
    ),
    (
        Rule.NOT_IMMUTABLE,
        "UPDATE sync SET started_at = coalesce(started_at, statement_timestamp()) WHERE shop_id = $1",
    ),
    (
        Rule.NOT_IMMUTABLE,
        "UPDATE sync SET started_at = coalesce(started_at, CAST('2026-01-01' AS timestamptz)) WHERE shop_id = $1",
    ),
    (
        Rule.NOT_IMMUTABLE,
        "INSERT INTO sync_seen (shop_id) VALUES ($1) ON CONFLICT (shop_id) DO UPDATE SET product_id = now()",
    ),
    (
        Rule.NOT_IMMUTABLE,
        "INSERT INTO item (shop_id) VALUES ($1) ON CONFLICT (shop_id) DO UPDATE SET title = ''"
        " WHERE item.deleted_at < now()",
    ),
    (Rule.SHOP_ID_CHANGED, "UPDATE item SET shop_id = $2 WHERE shop_id = $1"),
]

GOOD = [
    "SELECT title FROM item WHERE shop_id = CAST($1 AS uuid) AND item_id = $2",
    "SELECT 1 FROM item AS i JOIN product AS p ON p.shop_id = i.shop_id WHERE $1 = i.shop_id",
    f"SELECT 1 FROM {STAGE_ITEM} AS stage LEFT JOIN item ON item.shop_id = $1 AND item.item_id = stage.item_id",
    "SELECT clock_timestamp() - progressed_at FROM sync WHERE shop_id = $1 AND state = $2",
    "SELECT 1 FROM shop_state WHERE shop_id = $1 FOR UPDATE SKIP LOCKED",
    "UPDATE sync SET updated_at = statement_timestamp(), started_at = least(started_at, statement_timestamp())"
    " WHERE shop_id = $1 RETURNING revision, issue_count + 1",
    "UPDATE sync SET waiting_reason = CASE WHEN waiting_until > $2 THEN waiting_reason END WHERE shop_id = $1",
    "DELETE FROM item WHERE shop_id = $1 AND deleted_at < statement_timestamp() - CAST($2 AS interval)"
    " AND item_id IN (SELECT item_id FROM item WHERE shop_id = $1 LIMIT $3)",
    "WITH locked AS (UPDATE shop_state SET next_seq = next_seq + 1 WHERE shop_id = $1 RETURNING item_count)"
    " SELECT locked.item_count FROM locked, sync WHERE sync.shop_id = $1",
    "WITH old AS (DELETE FROM sync WHERE shop_id = $1 RETURNING shop_id, sync_id)"
    " INSERT INTO sync_history (shop_id, sync_id) SELECT shop_id, sync_id FROM old",
    f"INSERT INTO item (shop_id, item_id) SELECT CAST($1 AS uuid), stage.item_id FROM {STAGE_ITEM} AS stage"
    " ON CONFLICT (shop_id, item_id) DO UPDATE SET updated_at = excluded.updated_at",
    # The directory is on one node: there everything is allowed.
    "UPDATE sync_queue SET lease_until = clock_timestamp() + $1 FROM shop WHERE shop.shop_id = sync_queue.shop_id",
    "SELECT set_config('statement_timeout', $1, true)",
    "SET LOCAL enable_nestloop = off",
]


@pytest.mark.parametrize(("rule", "statement"), BAD)
def test_what_citus_refuses_or_fans_out_is_found(rule: Rule, statement: str) -> None:
    assert rule in check(statement).rules


def test_each_rule_is_shown_to_find_something() -> None:
    assert {rule for rule, _ in BAD} == set(Rule)


@pytest.mark.parametrize("statement", GOOD)
def test_what_citus_runs_is_accepted(statement: str) -> None:
    assert check(statement).violations == ()


LOCK = "SELECT shop_id FROM shop_state WHERE shop_id = $1 FOR UPDATE"
READ_ITEM = "SELECT item_id FROM item WHERE shop_id = $1"
WRITE_ITEM = "UPDATE item SET title = '' WHERE shop_id = $1"
WRITE_SYNC = "UPDATE sync SET state = '' WHERE shop_id = $1"


def transaction(*statements: str, shops: tuple[str, ...] = ("a",)) -> Transaction:
    """Return a transaction of these statements, for these shops in turn."""
    executed = [Executed(None, sql, (shops[number % len(shops)],)) for number, sql in enumerate(statements)]
    return Transaction("", executed)


def test_the_lock_must_come_first() -> None:
    assert transaction(LOCK, READ_ITEM, WRITE_ITEM, WRITE_SYNC).touched_before_lock == set()
    assert transaction(WRITE_SYNC, LOCK).touched_before_lock == {"sync"}
    assert transaction(READ_ITEM, LOCK, WRITE_ITEM).touched_before_lock == {"item"}
    assert transaction(LOCK.removesuffix(" FOR UPDATE"), WRITE_ITEM).touched_before_lock == {"item"}
    assert transaction(READ_ITEM, LOCK, WRITE_SYNC).touched_before_lock == set()


def test_the_shops_of_a_transaction_are_counted() -> None:
    assert transaction(LOCK, WRITE_ITEM).shops == {"a"}
    assert transaction(LOCK, WRITE_ITEM, shops=("a", "b")).shops == {"a", "b"}
