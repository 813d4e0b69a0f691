"""The old design: for each row the ORM reads, then adds or changes an object; each item is a transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase

from bench.writers.catalog import Batch
from bench.writers.database import Database
from bench.writers.values import column_values
from bench.writers.writer import Prepare, Store
from catalog_svc.storage import tables


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
