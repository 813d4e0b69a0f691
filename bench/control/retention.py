"""Rounds of retention: with nothing to delete, of a replica without the lease, and with much to delete.

Beside ours, a sample of the round before decision 36, which went through all shops on every replica.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID, uuid4

import asyncpg
from catalogsync_common.drain import Drain
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine

from bench.common.measure import BenchFailed
from bench.control.rows import Size, insert_history, old_months
from bench.control.timing import execution, seconds_of
from catalog_svc.storage.database import Database
from catalog_svc.storage.retention import RetentionStore
from catalog_svc.usecases.retention import Retention, RetentionPolicy

_SAMPLED_SHOPS = 200
_OLD_MONTHS = 2

_INSERT_ITEMS = """
    INSERT INTO item (shop_id, item_id, product_id, position, available, sellable_without_stock, options,
        feed_position, deleted_at)
    SELECT shop_id, CAST(item AS text), CAST(item / 5 AS text), 1, false, false, '[]', item,
        clock_timestamp() - interval '100 days'
    FROM control_shop, generate_series(1, CAST($2 AS integer)) AS item WHERE n <= $1"""

_INSERT_PRODUCTS = """
    INSERT INTO product (shop_id, product_id, content_hash, tags, options, images, item_count, feed_position,
        deleted_at)
    SELECT shop_id, product_id, CAST('' AS bytea), CAST('{}' AS text[]), CAST('[]' AS jsonb),
        CAST('[]' AS jsonb), 5, 1, clock_timestamp() - interval '100 days'
    FROM (SELECT DISTINCT shop_id, product_id FROM item) AS product"""

_SET_TOMBSTONES = """
    UPDATE shop_state SET oldest_tombstone_at = clock_timestamp() - interval '100 days'
    WHERE shop_id IN (SELECT shop_id FROM control_shop WHERE n <= $1)"""

_INSERT_SEEN = """
    INSERT INTO sync_seen (shop_id, pass_id, product_id)
    SELECT shop_id, ended_id, CAST(product AS text)
    FROM control_shop, generate_series(1, CAST($2 AS integer)) AS product WHERE n <= $1"""

_INSERT_OBSOLETE = """
    INSERT INTO obsolete_pass (shop_id, pass_id) SELECT shop_id, ended_id FROM control_shop WHERE n <= $1"""

_INSERT_REQUESTS = """
    INSERT INTO idempotency_key (principal, method, request_id, request_hash, shop_id, sync_id, created_at)
    SELECT '', 'StartSync', CAST(gen_random_uuid() AS text), '', shop_id, ended_id,
        clock_timestamp() - interval '8 days'
    FROM control_shop WHERE n <= $1"""

_LEFT = """
    SELECT (SELECT count(*) FROM item) + (SELECT count(*) FROM product) + (SELECT count(*) FROM sync_seen)
        + (SELECT count(*) FROM obsolete_pass) + (SELECT count(*) FROM idempotency_key)"""

_LONG_AGO = "clock_timestamp() - interval '30 days'"
_ENDED_OF_SHOP = "shop_id = :shop_id AND ended_at IS NOT NULL"
_OF_EACH_SHOP = (
    text(f"DELETE FROM idempotency_key WHERE shop_id = :shop_id AND created_at < {_LONG_AGO}"),
    text(f"""
    SELECT sync_id FROM sync
    WHERE {_ENDED_OF_SHOP} AND ended_at < {_LONG_AGO}
      AND sync_id NOT IN (SELECT sync_id FROM sync WHERE {_ENDED_OF_SHOP} ORDER BY sync_id DESC LIMIT 20)
    ORDER BY sync_id LIMIT 500"""),
    text(f"DELETE FROM item WHERE shop_id = :shop_id AND deleted_at < {_LONG_AGO}"),
    text(f"""
    DELETE FROM product WHERE shop_id = :shop_id AND deleted_at < {_LONG_AGO}
      AND NOT EXISTS (SELECT FROM item WHERE item.shop_id = :shop_id AND item.product_id = product.product_id)"""),
)
"""The statements of each shop, each in a transaction of its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RetentionFigures:
    """What rounds of retention take."""

    nothing_seconds: float
    nothing_statements: int
    other_replica_statements: int
    """Of a replica without the lease."""
    shop_by_shop_seconds: float
    """Before, with nothing to delete: of a sample of shops, times all shops."""
    deleted_rows: int
    work_seconds: float
    """Of the round that deletes them."""


async def measure_retention(
    database: Database, engine: AsyncEngine, connection: asyncpg.Connection, size: Size
) -> RetentionFigures:
    """Measure the rounds; afterwards what they have deleted is gone."""
    owner, other = (_retention(database) for _ in range(2))
    statements = StatementCount(engine)
    # The first round creates the partitions of the coming months.
    await owner.purge()
    statements.count = 0
    nothing_seconds = await seconds_of(owner.purge)
    nothing_statements, statements.count = statements.count, 0
    await other.purge()
    other_statements = statements.count
    before = await _shop_by_shop_seconds(database, connection)
    rows = await _insert_work(connection, size)
    work_seconds = await seconds_of(owner.purge)
    if left := await connection.fetchval(_LEFT):
        raise BenchFailed(f"{left} old rows are left")
    return RetentionFigures(
        nothing_seconds=round(nothing_seconds, 3),
        nothing_statements=nothing_statements,
        other_replica_statements=other_statements,
        shop_by_shop_seconds=round(before * size.shops, 1),
        deleted_rows=rows,
        work_seconds=round(work_seconds, 2),
    )


class StatementCount:
    """Counts the statements of an engine, without BEGIN and COMMIT."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.count = 0
        event.listen(engine.sync_engine, "before_cursor_execute", self._add)

    def _add(self, *_: object) -> None:
        self.count += 1


def _retention(database: Database) -> Retention:
    return Retention(records=RetentionStore(database, owner=uuid4()), drain=Drain(), policy=RetentionPolicy())


async def _insert_work(connection: asyncpg.Connection, size: Size) -> int:
    """Insert what a round deletes, and return how many rows those are."""
    shops = size.tombstone_shops
    await connection.execute(_INSERT_ITEMS, shops, size.tombstones // shops)
    await connection.execute(_INSERT_PRODUCTS)
    await connection.execute(_SET_TOMBSTONES, shops)
    await connection.execute(_INSERT_SEEN, shops, size.seen_ids // shops)
    await connection.execute(_INSERT_OBSOLETE, shops)
    await connection.execute(_INSERT_REQUESTS, size.requests)
    rows = await connection.fetchval(_LEFT)
    for number, (start, end) in enumerate(old_months(_OLD_MONTHS)):
        await insert_history(connection, start, end, number=100 + number, count=size.ended_per_month)
    await connection.execute("ANALYZE")
    return int(rows)


async def _shop_by_shop_seconds(database: Database, connection: asyncpg.Connection) -> float:
    """Return the seconds of a round before, with nothing to delete, for each shop."""
    shops: list[UUID] = [
        row["shop_id"]
        for row in await connection.fetch("SELECT shop_id FROM shop ORDER BY shop_id LIMIT $1", _SAMPLED_SHOPS)
    ]

    async def round_of_sample() -> None:
        for shop_id in shops:
            for statement in _OF_EACH_SHOP:
                await database.write(execution(statement, {"shop_id": shop_id}), shops=[shop_id])

    return await seconds_of(round_of_sample) / len(shops)
