"""The bulk writer of products and items: compare hashes first, then write only what changed, in few statements.

One SELECT reads the stored hashes; an unchanged product costs nothing more. Changed products go by COPY into
temporary staging tables, and from there by one INSERT ... SELECT ... ON CONFLICT into each table: COPY itself can
neither skip a stored row nor pass row-level security.

Each transaction creates the staging tables if they do not exist, so that nothing depends on which connection of a
pool the transaction got. They stay on the connection, which saves 1 to 2 ms for each batch. Behind a pooler, whose
server connections have other users too, they are dropped with the transaction. Their names end in a hash of their
columns: on a connection with tables of a release with other columns, a release creates its own tables.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

import asyncpg
from sqlalchemy import TextClause, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.records import IncomingProduct, ItemRecord, ProductRecord, RecordIssue, RecordRejected
from catalog_svc.domain.sync import RecordCounts
from catalog_svc.storage.pooler import is_pooled
from catalog_svc.storage.shops import ShopScope
from catalog_svc.storage.tables import ITEM_COLUMNS, PRODUCT_COLUMNS, RecordColumn

_PRODUCTS_PER_SLICE: Final = 30
"""Products that are unpacked at a time. They take a millisecond, after which other tasks of the process run."""


def staging_columns(columns: Sequence[RecordColumn]) -> str:
    """Return the column definitions of the staging table of these columns."""
    return ", ".join(f"{column.name} {column.staging_type}" for column in columns)


def versioned_name(name: str, columns: str) -> str:
    """Return the name of a staging table with these column definitions; other definitions give another name."""
    return f"{name}_{hashlib.blake2b(columns.encode(), digest_size=4).hexdigest()}"


STAGE_PRODUCT: Final = versioned_name("stage_product", staging_columns(PRODUCT_COLUMNS))
STAGE_ITEM: Final = versioned_name("stage_item", staging_columns(ITEM_COLUMNS))


def _create_staging_tables(on_commit: str) -> tuple[TextClause, ...]:
    return tuple(
        text(f"CREATE TEMPORARY TABLE IF NOT EXISTS {name} ({staging_columns(columns)}) ON COMMIT {on_commit}")
        for name, columns in ((STAGE_PRODUCT, PRODUCT_COLUMNS), (STAGE_ITEM, ITEM_COLUMNS))
    )


CREATE_STAGING_TABLES: Final = _create_staging_tables("DELETE ROWS")
CREATE_POOLED_STAGING_TABLES: Final = _create_staging_tables("DROP")


def _insert(table: str, columns: Sequence[RecordColumn], stage: str) -> TextClause:
    """INSERT of all staged rows; the first column is the record's id."""
    names = ", ".join(column.name for column in columns)
    values = ", ".join(_staged_value(column) for column in columns)
    return text(f"""
    INSERT INTO {table} (merchant_id, shop_id, {names})
    SELECT CAST(:merchant_id AS uuid), CAST(:shop_id AS uuid), {values}
    FROM {stage} AS stage""")


def _staged_value(column: RecordColumn) -> str:
    return f"CAST(stage.{column.name} AS {column.cast_to})" if column.cast_to else f"stage.{column.name}"


def _on_conflict_update(columns: Sequence[RecordColumn]) -> str:
    assignments = ", ".join(f"{column.name} = excluded.{column.name}" for column in columns[1:])
    return f"""
    ON CONFLICT (merchant_id, shop_id, {columns[0].name}) DO UPDATE
    SET {assignments}, updated_at = clock_timestamp(), deleted_at = NULL"""


def _compared_values(source: str, columns: Sequence[RecordColumn], *, staged: bool) -> str:
    """A row of all columns but the id, comparable between `source` tables.

    Numbers are compared as texts: 7.3 and 7.30 are equal numbers, and what the platform wrote is what we keep.
    """

    def value(column: RecordColumn) -> str:
        if column.cast_to == "numeric":
            return f"CAST({source}.{column.name} AS text)"
        if staged and column.cast_to:
            return f"CAST({source}.{column.name} AS {column.cast_to})"
        return f"{source}.{column.name}"

    return f"({', '.join(value(column) for column in columns[1:])})"


INSERT_PRODUCTS: Final = _insert("product", PRODUCT_COLUMNS, STAGE_PRODUCT)
INSERT_ITEMS: Final = _insert("item", ITEM_COLUMNS, STAGE_ITEM)
UPSERT_PRODUCTS: Final = text(INSERT_PRODUCTS.text + _on_conflict_update(PRODUCT_COLUMNS))
UPSERT_ITEMS: Final = text(f"""{INSERT_ITEMS.text}{_on_conflict_update(ITEM_COLUMNS)}
    WHERE item.deleted_at IS NOT NULL
       OR {_compared_values("item", ITEM_COLUMNS, staged=False)}
          IS DISTINCT FROM {_compared_values("excluded", ITEM_COLUMNS, staged=False)}""")

# Before UPSERT_ITEMS: afterwards new rows cannot be distinguished from old ones.
COMPARE_ITEMS: Final = text(f"""
    SELECT count(*) AS seen,
           count(*) FILTER (WHERE item.item_id IS NULL OR item.deleted_at IS NOT NULL) AS created,
           count(*) FILTER (WHERE item.item_id IS NOT NULL AND item.deleted_at IS NULL
               AND {_compared_values("item", ITEM_COLUMNS, staged=False)}
                   IS NOT DISTINCT FROM {_compared_values("stage", ITEM_COLUMNS, staged=True)}) AS unchanged
    FROM {STAGE_ITEM} AS stage
    LEFT JOIN item ON item.merchant_id = :merchant_id AND item.shop_id = :shop_id
        AND item.item_id = stage.item_id""")

# After UPSERT_ITEMS: an item that moved to another product has moved already.
_DELETE_REMOVED_ITEMS: Final = text("""
    UPDATE item SET deleted_at = clock_timestamp(), updated_at = clock_timestamp()
    WHERE merchant_id = :merchant_id AND shop_id = :shop_id AND product_id = ANY(CAST(:product_ids AS text[]))
      AND deleted_at IS NULL AND item_id <> ALL(CAST(:item_ids AS text[]))""")

_SELECT_STORED: Final = text("""
    SELECT product_id, content_hash, deleted_at IS NOT NULL AS deleted FROM product
    WHERE merchant_id = :merchant_id AND shop_id = :shop_id AND product_id = ANY(CAST(:product_ids AS text[]))""")

_DELETE_PRODUCTS: Final = text("""
    UPDATE product SET deleted_at = clock_timestamp(), updated_at = clock_timestamp()
    WHERE merchant_id = :merchant_id AND shop_id = :shop_id AND product_id = ANY(CAST(:product_ids AS text[]))
      AND deleted_at IS NULL""")

_DELETE_ITEMS: Final = text("""
    UPDATE item SET deleted_at = clock_timestamp(), updated_at = clock_timestamp()
    WHERE merchant_id = :merchant_id AND shop_id = :shop_id AND product_id = ANY(CAST(:product_ids AS text[]))
      AND deleted_at IS NULL""")


@dataclass(frozen=True, kw_only=True, slots=True)
class WriteResult:
    """What a batch changed."""

    products: RecordCounts
    items: RecordCounts
    rejected: tuple[RecordIssue, ...] = ()
    """Issues of products that cannot be stored as they came: what is stored of them stays."""


@dataclass(frozen=True, slots=True)
class _Unpacked:
    accepted: list[IncomingProduct]
    products: list[ProductRecord]
    items: list[ItemRecord]
    rejected: list[RecordIssue]


@dataclass(frozen=True, slots=True)
class _StoredProduct:
    content_hash: bytes
    deleted: bool


class ProductWriter:
    """Writes products of one shop within the caller's transaction."""

    def __init__(self, connection: AsyncConnection, scope: ShopScope) -> None:
        self._connection = connection
        self._scope = scope

    async def write(self, products: Sequence[IncomingProduct], deleted: Sequence[str]) -> WriteResult:
        """Store these products and their items, and mark others as deleted.

        Args:
            products: Products to store, each id once.
            deleted: Ids of products to mark as deleted, with their items.
        """
        stored = await self._select_stored(products)
        changed = [p for p in products if _differs(p, stored.get(p.product_id))]
        unchanged_items = sum(p.item_count for p in products) - sum(p.item_count for p in changed)
        unpacked = await _unpack(changed)
        accepted = unpacked.accepted
        created = sum(_is_new(stored.get(p.product_id)) for p in accepted)
        items = await self._write_changed(unpacked, stored) if accepted else RecordCounts()
        products_deleted, items_deleted = await self._delete(deleted)
        return WriteResult(
            products=RecordCounts(
                seen=len(products) - len(unpacked.rejected),
                created=created,
                updated=len(accepted) - created,
                unchanged=len(products) - len(changed),
                deleted=products_deleted,
            ),
            items=items + RecordCounts(seen=unchanged_items, unchanged=unchanged_items, deleted=items_deleted),
            rejected=tuple(unpacked.rejected),
        )

    async def _select_stored(self, products: Sequence[IncomingProduct]) -> dict[str, _StoredProduct]:
        if not products:
            return {}
        values = {**self._scope.values, "product_ids": [p.product_id for p in products]}
        rows = await self._connection.execute(_SELECT_STORED, values)
        return {row.product_id: _StoredProduct(row.content_hash, row.deleted) for row in rows}

    async def _write_changed(self, unpacked: _Unpacked, stored: dict[str, _StoredProduct]) -> RecordCounts:
        items = unpacked.items
        await self._stage(unpacked.products, items)
        known = [p for p in unpacked.accepted if p.product_id in stored]
        if not known and await self._insert_all_as_new():
            return RecordCounts(seen=len(items), created=len(items))
        counts = await self._compare_items()
        await self._connection.execute(UPSERT_PRODUCTS, self._scope.values)
        await self._connection.execute(UPSERT_ITEMS, self._scope.values)
        received = [item.item_id for item in items]
        return counts + RecordCounts(deleted=await self._delete_removed_items(known, received))

    async def _stage(self, products: list[ProductRecord], items: list[ItemRecord]) -> None:
        pooled = is_pooled(self._connection)
        for statement in CREATE_POOLED_STAGING_TABLES if pooled else CREATE_STAGING_TABLES:
            await self._connection.execute(statement)
        driver = cast("asyncpg.Connection", (await self._connection.get_raw_connection()).driver_connection)
        await driver.copy_records_to_table(STAGE_PRODUCT, records=products, columns=ProductRecord._fields)
        await driver.copy_records_to_table(STAGE_ITEM, records=items, columns=ItemRecord._fields)

    async def _insert_all_as_new(self) -> bool:
        """Insert what is staged and return True; return False, with nothing inserted, if a row exists already.

        ON CONFLICT costs PostgreSQL a third more for each row. Where all products are new, only an item that
        moved here from another product needs it, which is rare enough to try without.
        """
        try:
            async with self._connection.begin_nested():
                await self._connection.execute(INSERT_PRODUCTS, self._scope.values)
                await self._connection.execute(INSERT_ITEMS, self._scope.values)
        except IntegrityError:
            return False
        return True

    async def _compare_items(self) -> RecordCounts:
        row = (await self._connection.execute(COMPARE_ITEMS, self._scope.values)).one()
        return RecordCounts(
            seen=row.seen,
            created=row.created,
            updated=row.seen - row.created - row.unchanged,
            unchanged=row.unchanged,
        )

    async def _delete_removed_items(self, known: Sequence[IncomingProduct], received: list[str]) -> int:
        """Mark items as deleted that are missing in a product whose variants came complete."""
        complete = [p.product_id for p in known if p.variants_complete]
        if not complete:
            return 0
        values = {**self._scope.values, "product_ids": complete, "item_ids": received}
        return (await self._connection.execute(_DELETE_REMOVED_ITEMS, values)).rowcount

    async def _delete(self, product_ids: Sequence[str]) -> tuple[int, int]:
        """Mark these products and their items as deleted; return how many of each were not before."""
        if not product_ids:
            return 0, 0
        values = {**self._scope.values, "product_ids": list(product_ids)}
        items = (await self._connection.execute(_DELETE_ITEMS, values)).rowcount
        products = (await self._connection.execute(_DELETE_PRODUCTS, values)).rowcount
        return products, items


async def _unpack(changed: Sequence[IncomingProduct]) -> _Unpacked:
    """Return the rows of these products, each item once, and the issues of those that cannot be stored."""
    unpacked = _Unpacked([], [], [], [])
    items: dict[str, ItemRecord] = {}
    for number, product in enumerate(changed):
        if number % _PRODUCTS_PER_SLICE == 0:
            await asyncio.sleep(0)
        try:
            record, its_items = product.unpack()
        except RecordRejected as rejection:
            unpacked.rejected.append(rejection.issue)
            continue
        unpacked.accepted.append(product)
        unpacked.products.append(record)
        items.update((item.item_id, item) for item in its_items)
    unpacked.items.extend(items.values())
    return unpacked


def _differs(product: IncomingProduct, stored: _StoredProduct | None) -> bool:
    return stored is None or stored.deleted or stored.content_hash != product.content_hash


def _is_new(stored: _StoredProduct | None) -> bool:
    return stored is None or stored.deleted
