"""Ours: the whole transaction of a batch, with fence, comparison, seen ids, checkpoint and progress.

The usual bulk upsert with SQLAlchemy: INSERT of many rows at once, ON CONFLICT DO UPDATE.

The old design: for each row the ORM reads, then adds or changes an object; each item is a transaction.

The limit: COPY of the rows straight into the two tables. It can neither update nor pass row-level security.

Records as the values of their rows' columns."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, Final
from uuid import uuid4

import asyncpg
from sqlalchemy import Table, func
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase

from bench.common.measure import BenchFailed
from bench.write.catalog import Batch, FullProduct
from bench.write.database import Database
from bench.write.measure import Prepare, Store
from catalog_svc.domain.records import IncomingProduct, ItemRecord, ProductRecord
from catalog_svc.domain.shop import ShopKey, ShopProfile
from catalog_svc.domain.source import SourceBatch, SourceHeader
from catalog_svc.domain.sync import ClaimedSync, StartSyncCommand, SyncMode, SyncState
from catalog_svc.storage import database as storage
from catalog_svc.storage import tables
from catalog_svc.storage.batches import BatchStore
from catalog_svc.storage.engine import open_engine
from catalog_svc.storage.leases import LeaseStore
from catalog_svc.storage.scope import ShopScope
from catalog_svc.storage.sweeps import SweepStore
from catalog_svc.storage.sync_commands import SyncCommandStore

_TTL: Final = timedelta(seconds=15)
_SHOP: Final = ShopKey("shopify", "bench.myshopify.com")
_HEADER: Final = SourceHeader(
    profile=ShopProfile(currency_code="EUR", platform_shop_id="1", display_name="Bench"),
    watermark=datetime(2026, 11, 1, tzinfo=UTC),
    strategy="paging",
    served_api_version="2026-10",
    estimated_product_count=None,
    estimated_item_count=None,
)


@asynccontextmanager
async def batch_store(database: Database) -> AsyncIterator[Prepare]:
    """One full sync: taken up before the first batch, ended and tidied up after the last, none of it timed."""
    engine = open_engine(database.url)
    try:
        data = storage.Database(engine)
        leases = LeaseStore(data, owner=uuid4(), ttl=_TTL)
        await SyncCommandStore(data).start(StartSyncCommand(shop=_SHOP, mode=SyncMode.FULL, overlap=timedelta(0)))
        claims = await leases.claim()
        if not claims:
            raise BenchFailed("nobody can take up the sync that was ordered")
        (claimed,) = claims
        await leases.begin(claimed.lease, _HEADER)
        run = _Run(claimed, BatchStore(data, ttl=_TTL))
        yield run.prepared
        await leases.end(run.lease, SyncState.SUCCEEDED)
        await SweepStore(data, ttl=_TTL).finalize(run.lease)
    finally:
        await engine.dispose()


class _Run:
    def __init__(self, claimed: ClaimedSync, store: BatchStore) -> None:
        self.lease = claimed.lease
        self._shop = claimed.sync.shop
        self._store = store

    def prepared(self, batch: Batch) -> Store:
        source = SourceBatch(
            products=tuple(map(_incoming, batch)),
            issues=(),
            # About as long as a real one.
            checkpoint=batch[-1].record.product_id.zfill(100).encode(),
        )
        return partial(self._apply, source)

    async def _apply(self, batch: SourceBatch) -> None:
        self.lease, _ = await self._store.apply(self.lease, self._shop, batch, full=True, items_per_second=None)


def _incoming(product: FullProduct) -> IncomingProduct:
    return IncomingProduct(
        product_id=product.record.product_id,
        content_hash=product.record.content_hash,
        item_count=len(product.items),
        variants_complete=True,
        unpack=partial(_unpacked, product),
    )


def _unpacked(product: FullProduct) -> tuple[ProductRecord, list[ItemRecord]]:
    return product.record, product.items


_MOST_PARAMETERS: Final = 32_767
"""Of one statement, by asyncpg."""


@asynccontextmanager
async def multi_row(database: Database) -> AsyncIterator[Prepare]:
    """One transaction per batch in as few statements as can be, and an engine with SQLAlchemy's defaults."""
    scope = database.scope
    engine = create_async_engine(make_url(database.url).set(drivername="postgresql+asyncpg"))

    def prepared(batch: Batch) -> Store:
        products = [column_values(product.record, scope) for product in batch]
        items = [column_values(item, scope) for product in batch for item in product.items]

        async def store() -> None:
            async with engine.begin() as connection:
                for statement in (*_upserts(tables.product, products), *_upserts(tables.item, items)):
                    await connection.execute(statement)

        return store

    try:
        yield prepared
    finally:
        await engine.dispose()


def _upserts(table: Table, rows: Sequence[dict[str, Any]]) -> Iterator[Insert]:
    size = _MOST_PARAMETERS // len(rows[0])
    for start in range(0, len(rows), size):
        yield _upsert(table, rows[start : start + size])


def _upsert(table: Table, rows: Sequence[dict[str, Any]]) -> Insert:
    statement = insert(table).values(rows)
    key = [column.name for column in table.primary_key]
    taken = {name: statement.excluded[name] for name in rows[0] if name not in key}
    written = {"updated_at": func.clock_timestamp(), "deleted_at": None}
    return statement.on_conflict_do_update(index_elements=key, set_={**taken, **written})


class _Base(DeclarativeBase):
    pass


class _Product(_Base):
    __table__ = tables.product


class _Item(_Base):
    __table__ = tables.item


@asynccontextmanager
async def orm(database: Database) -> AsyncIterator[Prepare]:
    """One session on one connection, an engine with SQLAlchemy's defaults.

    A product goes with its first item: a transaction less per product than the old system made.
    """
    scope = database.scope
    engine = create_async_engine(make_url(database.url).set(drivername="postgresql+asyncpg"))

    try:
        async with AsyncSession(engine) as session:

            def prepared(batch: Batch) -> Store:
                products = [
                    (column_values(one.record, scope), [column_values(item, scope) for item in one.items])
                    for one in batch
                ]

                async def store() -> None:
                    for product, items in products:
                        await _put(session, _Product, product)
                        for item in items:
                            await _put(session, _Item, item)
                            await session.commit()

                return store

            yield prepared
    finally:
        await engine.dispose()


async def _put(session: AsyncSession, kind: type[_Product | _Item], values: dict[str, Any]) -> None:
    key = tuple(values[column.name] for column in kind.__table__.primary_key)
    stored = await session.get(kind, key)
    if stored is None:
        session.add(kind(**values))
    else:
        for name, value in values.items():
            setattr(stored, name, value)


@asynccontextmanager
async def raw_copy(database: Database) -> AsyncIterator[Prepare]:
    """One transaction per batch on one connection."""
    scope = database.scope
    connection = await asyncpg.connect(database.url)

    def prepared(batch: Batch) -> Store:
        products = [driver_row(product.record, scope) for product in batch]
        items = [driver_row(item, scope) for product in batch for item in product.items]

        async def store() -> None:
            async with connection.transaction():
                await connection.copy_records_to_table(
                    "product", records=products, columns=driver_columns(ProductRecord, scope)
                )
                await connection.copy_records_to_table(
                    "item", records=items, columns=driver_columns(ItemRecord, scope)
                )

        return store

    try:
        yield prepared
    finally:
        await connection.close()


_EXACT = ("price", "compare_at_price", "weight")
_JSON = ("options", "images")


def driver_row(record: ProductRecord | ItemRecord, scope: ShopScope) -> tuple[Any, ...]:
    """As asyncpg takes them, in the order of `driver_columns`."""
    return (*scope.values.values(), *_with_numbers(record).values())


def driver_columns(kind: type[ProductRecord | ItemRecord], scope: ShopScope) -> tuple[str, ...]:
    """The names of a `driver_row`."""
    return (*scope.values, *kind._fields)


def column_values(record: ProductRecord | ItemRecord, scope: ShopScope) -> dict[str, Any]:
    """As SQLAlchemy takes them for our tables: JSON as Python objects."""
    values = _with_numbers(record)
    parsed = {name: json.loads(values[name]) for name in _JSON if name in values}
    return {**scope.values, **values, **parsed}


def _with_numbers(record: ProductRecord | ItemRecord) -> dict[str, Any]:
    values = record._asdict()
    texts = {name: values[name] for name in _EXACT if name in values}
    return values | {name: None if digits is None else Decimal(digits) for name, digits in texts.items()}
