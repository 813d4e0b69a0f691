"""Retention of one replica over a real PostgreSQL, and rows that are old enough for it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from catalog_svc.domain.sync import Sync, SyncState
from catalog_svc.storage.database import Database
from catalog_svc.storage.retention import RetentionStore
from catalog_svc.usecases.retention import Retention, RetentionPolicy
from tests.fakes.product_source import MemorySource, product
from tests.integration.catalog_svc.conftest import CatalogWorld

OLD_DAYS = 91
"""Age in days of records that the default policy does not keep."""


class StepRecorder(RetentionStore):
    """A store that records how many rows each step of `purge_seen` and `purge_deleted` has deleted."""

    def __init__(self, database: Database, *, rows_per_purge: int) -> None:
        super().__init__(database, owner=uuid4(), rows_per_purge=rows_per_purge)
        self.seen: list[int] = []
        self.deleted: list[int] = []

    async def purge_seen(self) -> int:
        self.seen.append(await super().purge_seen())
        return self.seen[-1]

    async def purge_deleted(self, *, older_than: timedelta) -> int:
        self.deleted.append(await super().purge_deleted(older_than=older_than))
        return self.deleted[-1]


def store_of(world: CatalogWorld, *, rows_per_purge: int = 5_000) -> RetentionStore:
    """Return the store of another replica each time."""
    return RetentionStore(Database(world.engine), owner=uuid4(), rows_per_purge=rows_per_purge)


def retention(
    world: CatalogWorld, store: RetentionStore | None = None, *, every: timedelta = timedelta(hours=1)
) -> Retention:
    return Retention(records=store or store_of(world), drain=world.drain, policy=RetentionPolicy(), interval=every)


async def purge(world: CatalogWorld, *, rows_per_purge: int = 5_000) -> None:
    """Purge as a replica that gets the lease in any case."""
    await world.execute("DELETE FROM loop_lease")
    await retention(world, store_of(world, rows_per_purge=rows_per_purge)).purge()


async def values_of(world: CatalogWorld, table: str, column: str) -> set[Any]:
    return {row[column] for row in await world.rows(f"SELECT {column} FROM {table}")}


async def full_sync(world: CatalogWorld, products: Sequence[str], *, items: int = 1) -> Sync:
    """Sync a shop that has these products only; the others are deleted."""
    created = await world.create_sync(allow_mass_delete=True)
    source = MemorySource([product(product_id, items=items) for product_id in products])
    await world.supervisor(source).run(await world.claim())
    sync = await world.syncs.get(created.sync_id)
    assert sync.state is SyncState.SUCCEEDED
    return sync


async def age_tombstones(world: CatalogWorld, *, days: int = OLD_DAYS, where: str = "true") -> None:
    """Let tombstones be older by so many days, and the shop know it."""
    age = f"interval '{days} days'"
    for table in ("item", "product"):
        await world.execute(f"UPDATE {table} SET deleted_at = deleted_at - {age} WHERE {where}")
    await world.execute(f"UPDATE shop_state SET oldest_tombstone_at = oldest_tombstone_at - {age}")


def statements_of(engine: AsyncEngine) -> list[str]:
    """Return the list of all further statements."""
    statements: list[str] = []

    @event.listens_for(engine.sync_engine, "before_cursor_execute")
    def record(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    return statements
