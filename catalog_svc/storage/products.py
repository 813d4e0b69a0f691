"""The bulk writer of products and items: look first, write only what changed, in few statements.

One SELECT of the stored hashes, then COPY into staging tables and one INSERT ... SELECT ... ON CONFLICT for each
table. An unchanged product costs a comparison.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import asyncpg
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.progress import RecordCounts
from catalog_svc.domain.records import IncomingProduct, ItemRecord, ProductRecord, RecordIssue, RecordRejected
from catalog_svc.storage import staging
from catalog_svc.storage.scope import ShopScope

_UNPACKED_AT_A_TIME = 30
"""Products; a millisecond, after which calls that have nothing to do with this batch get their turn."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """What became of a batch."""

    products: RecordCounts
    items: RecordCounts
    rejected: tuple[RecordIssue, ...] = ()
    """Of products that cannot be stored as they came: what is stored of them stays."""


@dataclass(frozen=True, slots=True)
class _Unpacked:
    accepted: list[IncomingProduct]
    products: list[ProductRecord]
    items: list[ItemRecord]
    rejected: list[RecordIssue]


@dataclass(frozen=True, slots=True)
class _Stored:
    content_hash: bytes
    deleted: bool


_STORED = text("""
    SELECT product_id, content_hash, deleted_at IS NOT NULL AS deleted FROM product
    WHERE merchant_id = :merchant_id AND shop_id = :shop_id AND product_id = ANY(CAST(:product_ids AS text[]))""")

_DELETE_PRODUCTS = text("""
    UPDATE product SET deleted_at = clock_timestamp(), updated_at = clock_timestamp()
    WHERE merchant_id = :merchant_id AND shop_id = :shop_id AND product_id = ANY(CAST(:product_ids AS text[]))
      AND deleted_at IS NULL""")

_DELETE_ITEMS = text("""
    UPDATE item SET deleted_at = clock_timestamp(), updated_at = clock_timestamp()
    WHERE merchant_id = :merchant_id AND shop_id = :shop_id AND product_id = ANY(CAST(:product_ids AS text[]))
      AND deleted_at IS NULL""")


class ProductWriter:
    """Writes products of one shop inside the caller's transaction."""

    def __init__(self, connection: AsyncConnection, scope: ShopScope) -> None:
        self._connection = connection
        self._scope = scope

    async def write(self, products: Sequence[IncomingProduct], deleted: Sequence[str]) -> Written:
        """Brings the rows of these products, each id once, to what they say; marks `deleted` ones."""
        stored = await self._stored(products)
        changed = [p for p in products if _differs(p, stored.get(p.product_id))]
        unchanged_items = sum(p.item_count for p in products) - sum(p.item_count for p in changed)
        unpacked = await _unpack(changed)
        accepted = unpacked.accepted
        created = sum(_is_new(stored.get(p.product_id)) for p in accepted)
        items = await self._write_changed(unpacked, stored) if accepted else RecordCounts()
        products_deleted, items_deleted = await self._delete(deleted)
        return Written(
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

    async def _stored(self, products: Sequence[IncomingProduct]) -> dict[str, _Stored]:
        if not products:
            return {}
        values = {**self._scope.values, "product_ids": [p.product_id for p in products]}
        rows = await self._connection.execute(_STORED, values)
        return {row.product_id: _Stored(row.content_hash, row.deleted) for row in rows}

    async def _write_changed(self, unpacked: _Unpacked, stored: dict[str, _Stored]) -> RecordCounts:
        items = unpacked.items
        await self._stage(unpacked.products, items)
        known = [p for p in unpacked.accepted if p.product_id in stored]
        if not known and await self._inserted_as_new():
            return RecordCounts(seen=len(items), created=len(items))
        counts = await self._compare()
        await self._connection.execute(staging.WRITE_PRODUCTS, self._scope.values)
        await self._connection.execute(staging.WRITE_ITEMS, self._scope.values)
        arrived = [item.item_id for item in items]
        return counts + RecordCounts(deleted=await self._delete_departed(known, arrived))

    async def _stage(self, products: list[ProductRecord], items: list[ItemRecord]) -> None:
        for statement in staging.CREATE:
            await self._connection.execute(statement)
        driver = cast("asyncpg.Connection", (await self._connection.get_raw_connection()).driver_connection)
        await driver.copy_records_to_table(staging.STAGE_PRODUCT, records=products, columns=ProductRecord._fields)
        await driver.copy_records_to_table(staging.STAGE_ITEM, records=items, columns=ItemRecord._fields)

    async def _inserted_as_new(self) -> bool:
        """Whether all that is staged was new and is stored now; if an item was not, nothing is.

        ON CONFLICT costs PostgreSQL a third more for each row. Of products that are all new only an item that came
        from another one needs it, which is rare enough for an attempt in vain.
        """
        try:
            async with self._connection.begin_nested():
                await self._connection.execute(staging.INSERT_PRODUCTS, self._scope.values)
                await self._connection.execute(staging.INSERT_ITEMS, self._scope.values)
        except IntegrityError:
            return False
        return True

    async def _compare(self) -> RecordCounts:
        row = (await self._connection.execute(staging.COMPARE_ITEMS, self._scope.values)).one()
        return RecordCounts(
            seen=row.seen,
            created=row.created,
            updated=row.seen - row.created - row.unchanged,
            unchanged=row.unchanged,
        )

    async def _delete_departed(self, known: Sequence[IncomingProduct], arrived: list[str]) -> int:
        """Items that left a product whose variants came complete."""
        complete = [p.product_id for p in known if p.variants_complete]
        if not complete:
            return 0
        values = {**self._scope.values, "product_ids": complete, "item_ids": arrived}
        return (await self._connection.execute(staging.DELETE_DEPARTED, values)).rowcount

    async def _delete(self, product_ids: Sequence[str]) -> tuple[int, int]:
        if not product_ids:
            return 0, 0
        values = {**self._scope.values, "product_ids": list(product_ids)}
        items = (await self._connection.execute(_DELETE_ITEMS, values)).rowcount
        products = (await self._connection.execute(_DELETE_PRODUCTS, values)).rowcount
        return products, items


async def _unpack(changed: Sequence[IncomingProduct]) -> _Unpacked:
    """The rows of these products, each item once, and why some cannot be stored."""
    unpacked = _Unpacked([], [], [], [])
    items: dict[str, ItemRecord] = {}
    for number, product in enumerate(changed):
        if number % _UNPACKED_AT_A_TIME == 0:
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


def _differs(product: IncomingProduct, stored: _Stored | None) -> bool:
    return stored is None or stored.deleted or stored.content_hash != product.content_hash


def _is_new(stored: _Stored | None) -> bool:
    return stored is None or stored.deleted
