"""The writers: the batch writer of catalog_svc, an ORM, multi-row upserts, and raw COPY as the limit."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import cycle
from typing import Any, Final
from uuid import uuid4

import asyncpg
from sqlalchemy import Table, func
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase

from bench.common.measure import BenchFailed
from bench.write.catalog import Batch, FullProduct
from bench.write.database import Database
from bench.write.measure import Prepare, WriteBatch
from catalog_svc.domain.records import IncomingProduct, ItemRecord, ProductRecord
from catalog_svc.domain.shop import ShopKey, ShopProfile
from catalog_svc.domain.source import SourceBatch, SourceHeader
from catalog_svc.domain.sync import ClaimedSync, StartSyncCommand, SyncMode, SyncState
from catalog_svc.storage import database as storage
from catalog_svc.storage import tables
from catalog_svc.storage.batches import BatchStore
from catalog_svc.storage.engine import open_engine
from catalog_svc.storage.leases import LeaseStore
from catalog_svc.storage.shops import ShopScope
from catalog_svc.storage.sweeps import SweepStore
from catalog_svc.storage.sync_commands import SyncCommandStore

_LEASE_TTL: Final = timedelta(seconds=15)
_SHOP: Final = ShopKey("shopify", "bench.myshopify.com")
_HEADER: Final = SourceHeader(
    profile=ShopProfile(currency_code="EUR", platform_shop_id="1", display_name="Bench"),
    watermark=datetime(2026, 11, 1, tzinfo=UTC),
    strategy="paging",
    served_api_version="2026-10",
    estimated_product_count=None,
    estimated_item_count=None,
)
# asyncpg's limit for one statement.
_MAX_PARAMETERS: Final = 32_767
_DECIMAL_COLUMNS = ("price", "compare_at_price", "weight")
_JSON_COLUMNS = ("options", "images")


@asynccontextmanager
async def batch_writer(database: Database) -> AsyncIterator[Prepare]:
    """Write with `BatchStore.apply`: a batch's whole transaction with fence, comparison, seen ids and progress.

    All batches belong to one full sync. It is claimed before the first batch, and ended and finalized after the
    last; neither is timed.
    """
    async with batch_writer_of_shops(database, [_SHOP]) as prepare:
        yield prepare


@asynccontextmanager
async def batch_writer_of_shops(database: Database, shops: Sequence[ShopKey]) -> AsyncIterator[Prepare]:
    """Write as `batch_writer` does, each batch for the next one of the shops in turn, on one connection."""
    engine = open_engine(database.service_url)
    try:
        data = storage.Database(engine)
        async with AsyncExitStack() as stack:
            syncs = [await stack.enter_async_context(_running_sync(data, shop)) for shop in shops]
            turns = cycle(syncs)
            yield lambda batch: next(turns).prepare(batch)
    finally:
        await engine.dispose()


@asynccontextmanager
async def _running_sync(data: storage.Database, shop: ShopKey) -> AsyncIterator[_BatchWriterSync]:
    leases = LeaseStore(data, owner=uuid4(), ttl=_LEASE_TTL)
    await SyncCommandStore(data).start(StartSyncCommand(shop=shop, mode=SyncMode.FULL, overlap=timedelta(0)))
    claims = await leases.claim()
    if not claims:
        raise BenchFailed("the sync that was started cannot be claimed")
    (claimed,) = claims
    await leases.begin(claimed.lease, _HEADER)
    sync = _BatchWriterSync(claimed, BatchStore(data, ttl=_LEASE_TTL))
    yield sync
    await leases.end(sync.lease, SyncState.SUCCEEDED)
    await SweepStore(data, ttl=_LEASE_TTL).finalize(sync.lease)


class _BatchWriterSync:
    def __init__(self, claimed: ClaimedSync, store: BatchStore) -> None:
        self.lease = claimed.lease
        self._shop = claimed.sync.shop
        self._store = store

    def prepare(self, batch: Batch) -> WriteBatch:
        source = SourceBatch(
            products=tuple(map(_incoming, batch)),
            issues=(),
            # About as long as a real checkpoint.
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
        unpack=partial(_unpack, product),
    )


def _unpack(product: FullProduct) -> tuple[ProductRecord, list[ItemRecord]]:
    return product.record, product.items


@asynccontextmanager
async def multi_row(database: Database) -> AsyncIterator[Prepare]:
    """Write with the usual bulk upsert of SQLAlchemy: INSERT of many rows at once, ON CONFLICT DO UPDATE.

    Each batch is one transaction in as few statements as possible; the engine has SQLAlchemy's defaults.
    """
    scope = database.scope
    engine = _default_engine(database.url)

    def prepare(batch: Batch) -> WriteBatch:
        products = [_column_values(product.record, scope) for product in batch]
        items = [_column_values(item, scope) for product in batch for item in product.items]

        async def write() -> None:
            async with engine.begin() as connection:
                for statement in (*_upserts(tables.product, products), *_upserts(tables.item, items)):
                    await connection.execute(statement)

        return write

    try:
        yield prepare
    finally:
        await engine.dispose()


def _upserts(table: Table, rows: Sequence[dict[str, Any]]) -> Iterator[Insert]:
    size = _MAX_PARAMETERS // len(rows[0])
    for start in range(0, len(rows), size):
        yield _upsert(table, rows[start : start + size])


def _upsert(table: Table, rows: Sequence[dict[str, Any]]) -> Insert:
    statement = insert(table).values(rows)
    key = [column.name for column in table.primary_key]
    updated = {name: statement.excluded[name] for name in rows[0] if name not in key}
    bookkeeping = {"updated_at": func.clock_timestamp(), "deleted_at": None}
    return statement.on_conflict_do_update(index_elements=key, set_={**updated, **bookkeeping})


class _Base(DeclarativeBase):
    pass


class _Product(_Base):
    __table__ = tables.product


class _Item(_Base):
    __table__ = tables.item


@asynccontextmanager
async def orm(database: Database) -> AsyncIterator[Prepare]:
    """Write as the legacy services did: for each row an ORM get, then add or change; one transaction per item.

    One session on one connection, an engine with SQLAlchemy's defaults. A product is committed with its first
    item: a transaction less per product than in the legacy services.
    """
    scope = database.scope
    engine = _default_engine(database.url)

    try:
        async with AsyncSession(engine) as session:

            def prepare(batch: Batch) -> WriteBatch:
                products = [
                    (_column_values(one.record, scope), [_column_values(item, scope) for item in one.items])
                    for one in batch
                ]

                async def write() -> None:
                    for product, items in products:
                        await _get_and_set(session, _Product, product)
                        for item in items:
                            await _get_and_set(session, _Item, item)
                            await session.commit()

                return write

            yield prepare
    finally:
        await engine.dispose()


async def _get_and_set(session: AsyncSession, kind: type[_Product | _Item], values: dict[str, Any]) -> None:
    key = tuple(values[column.name] for column in kind.__table__.primary_key)
    stored = await session.get(kind, key)
    if stored is None:
        session.add(kind(**values))
    else:
        for name, value in values.items():
            setattr(stored, name, value)


@asynccontextmanager
async def raw_copy(database: Database) -> AsyncIterator[Prepare]:
    """Write with COPY straight into the two tables: the limit. It can neither update nor pass row-level security.

    Each batch is one transaction, on one connection.
    """
    scope = database.scope
    connection = await asyncpg.connect(database.url)

    def prepare(batch: Batch) -> WriteBatch:
        products = [_copy_row(product.record, scope) for product in batch]
        items = [_copy_row(item, scope) for product in batch for item in product.items]

        async def write() -> None:
            async with connection.transaction():
                await connection.copy_records_to_table(
                    "product", records=products, columns=_copy_columns(ProductRecord, scope)
                )
                await connection.copy_records_to_table(
                    "item", records=items, columns=_copy_columns(ItemRecord, scope)
                )

        return write

    try:
        yield prepare
    finally:
        await connection.close()


def _default_engine(url: str) -> AsyncEngine:
    return create_async_engine(make_url(url).set(drivername="postgresql+asyncpg"))


def _copy_row(record: ProductRecord | ItemRecord, scope: ShopScope) -> tuple[Any, ...]:
    """Return the values that asyncpg takes, in the order of `_copy_columns`."""
    return (*scope.values.values(), *_with_decimals(record).values())


def _copy_columns(kind: type[ProductRecord | ItemRecord], scope: ShopScope) -> tuple[str, ...]:
    return (*scope.values, *kind._fields)


def _column_values(record: ProductRecord | ItemRecord, scope: ShopScope) -> dict[str, Any]:
    """Return the values that SQLAlchemy takes for our tables, by column: JSON as Python objects."""
    values = _with_decimals(record)
    parsed = {name: json.loads(values[name]) for name in _JSON_COLUMNS if name in values}
    return {**scope.values, **values, **parsed}


def _with_decimals(record: ProductRecord | ItemRecord) -> dict[str, Any]:
    values = record._asdict()
    texts = {name: values[name] for name in _DECIMAL_COLUMNS if name in values}
    return values | {name: None if digits is None else Decimal(digits) for name, digits in texts.items()}
