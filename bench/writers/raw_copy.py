"""The limit: COPY of the rows straight into the two tables. It can neither update nor pass row-level security."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from bench.writers.catalog import Batch
from bench.writers.database import Database
from bench.writers.values import driver_columns, driver_row
from bench.writers.writer import Prepare, Store
from catalog_svc.domain.records import ItemRecord, ProductRecord


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
