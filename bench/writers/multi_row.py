"""The usual bulk upsert with SQLAlchemy: INSERT of many rows at once, ON CONFLICT DO UPDATE."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from sqlalchemy import Table, func
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from bench.writers.catalog import Batch
from bench.writers.database import Database
from bench.writers.values import column_values
from bench.writers.writer import Prepare, Store
from catalog_svc.storage import tables

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
