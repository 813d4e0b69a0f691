"""Measures one complete sync from outside: duration, CPU, WAL, memory; and medians of repetitions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from statistics import median
from uuid import uuid4

from catalogsync.catalog.v1.catalog_service_pb2 import Sync
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from bench.common import machine
from bench.common.stack import Stack
from bench.common.store import ServedShop, Store

# An idle PostgreSQL connection reports its statistics after 10 s.
STATISTICS_DELAY_SECONDS = 11.0

_DATABASE_STATE = text("""
    SELECT pg_current_wal_lsn() - '0/0'::pg_lsn AS wal,
           (SELECT coalesce(sum(n_tup_upd + n_tup_del), 0) FROM pg_stat_user_tables
            WHERE relname IN ('product', 'item')) AS dead""")


class BenchFailed(Exception):
    """The measured system did not do what it was measured for; the figures would mean nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncMeasurement:
    """What one complete sync cost."""

    seconds: float
    """From the call of StartSync to the terminal snapshot."""
    items: int
    created: int
    updated: int
    unchanged: int
    cpu: dict[str, float]
    """Seconds by process."""
    wal_bytes: int
    dead_tuples: int | None
    """Row versions of product and item that the sync made obsolete; None: not counted."""
    peak_mb: dict[str, tuple[float, ...]]
    """Peak RSS of each service at the start, after each quarter of the items, and at the end."""
    backend_mb: tuple[float, ...]
    """Private memory of the largest PostgreSQL backend at the same times."""

    @property
    def rows_per_second(self) -> float:
        """Items per second."""
        return self.items / self.seconds

    def to_json(self) -> dict[str, object]:
        """Return all fields and rows per second, for the RESULT line."""
        return {
            **asdict(self),
            "seconds": round(self.seconds, 2),
            "rows_per_second": round(self.rows_per_second),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncMedians:
    """Medians over repetitions of the same sync, each figure by itself."""

    repetitions: int
    items: int
    changed_items: int
    rows_per_second: int
    slowest_rows_per_second: int
    fastest_rows_per_second: int
    cpu_per_100k: dict[str, float]
    """Seconds per 100,000 items, by process. The kernel counts in hundredths: coarse for a small shop."""
    wal_bytes: int
    dead_tuples: int | None
    """None: counted in no repetition."""
    peak_mb: dict[str, float]
    """The highest of all repetitions, by service."""

    @classmethod
    def of(cls, repetitions: Sequence[SyncMeasurement]) -> SyncMedians:
        """Return the medians of at least one repetition."""

        def median_of(figure: Callable[[SyncMeasurement], float]) -> float:
            return median(map(figure, repetitions))

        def cpu(name: str) -> float:
            return round(median_of(lambda one: one.cpu[name] / one.items * 100_000), 2)

        first = repetitions[0]
        dead = [one.dead_tuples for one in repetitions if one.dead_tuples is not None]
        rates = sorted(round(one.rows_per_second) for one in repetitions)
        return cls(
            repetitions=len(repetitions),
            items=first.items,
            changed_items=first.created + first.updated,
            rows_per_second=round(median(rates)),
            slowest_rows_per_second=rates[0],
            fastest_rows_per_second=rates[-1],
            cpu_per_100k={name: cpu(name) for name in first.cpu},
            wal_bytes=round(median_of(lambda one: one.wal_bytes)),
            dead_tuples=round(median(dead)) if dead else None,
            peak_mb={name: max(one.peak_mb[name][-1] for one in repetitions) for name in first.peak_mb},
        )


async def measure_sync(
    stack: Stack, store: Store, *, strategy: str | None = None, count_dead: bool = True
) -> SyncMeasurement:
    """Run and measure a full sync of the store's shop.

    Args:
        stack: Running services.
        store: Store with one shop.
        strategy: The read strategy that must have been used; None: any.
        count_dead: Whether to count dead tuples, which takes STATISTICS_DELAY_SECONDS.

    Raises:
        BenchFailed: The sync failed, was retried, used another strategy or did not store the whole shop.
    """
    wal, dead = await _database_state(stack, checkpoint=True)
    cpu = _cpu(stack, store)
    memory = _MemorySamples(stack, store.shop.items)
    begin = time.monotonic()
    sync = await stack.processes.supervise(store.processes.supervise(_run_sync(stack, store.shop, memory)))
    seconds = time.monotonic() - begin
    cpu = {name: round(after - cpu[name], 2) for name, after in _cpu(stack, store).items()}
    memory.take()
    if count_dead:
        await asyncio.sleep(STATISTICS_DELAY_SECONDS)
    wal_after, dead_after = await _database_state(stack, checkpoint=False)
    await _check(stack, store.shop, sync, strategy)
    items = sync.progress.items
    return SyncMeasurement(
        seconds=seconds,
        items=items.seen_count,
        created=items.created_count,
        updated=items.updated_count,
        unchanged=items.unchanged_count,
        cpu=cpu,
        wal_bytes=wal_after - wal,
        dead_tuples=dead_after - dead if count_dead else None,
        peak_mb={name: tuple(values) for name, values in memory.services.items()},
        backend_mb=tuple(memory.backend),
    )


class _MemorySamples:
    """Samples the memory of the services at the start and after each quarter of the items."""

    def __init__(self, stack: Stack, items: int) -> None:
        self._stack = stack
        self._items = items
        self.services: dict[str, list[float]] = {"connector_svc": [], "catalog_svc": []}
        self.backend: list[float] = []
        self.take()

    def progress(self, items: int) -> None:
        while len(self.backend) < 4 and items >= self._items * len(self.backend) / 4:
            self.take()

    def take(self) -> None:
        self.services["connector_svc"].append(round(machine.peak_rss_mb(self._stack.connector_pid), 1))
        self.services["catalog_svc"].append(round(machine.peak_rss_mb(self._stack.catalog_pid), 1))
        backends = machine.children(self._stack.postmaster_pid)
        self.backend.append(round(max(map(machine.private_mb, backends), default=0.0), 1))


async def _run_sync(stack: Stack, shop: ServedShop, memory: _MemorySamples) -> Sync:
    sync = await stack.catalog.start_sync(shop.name, mode=Sync.MODE_FULL, request_id=str(uuid4()))
    async with aclosing(stack.catalog.watch(sync.sync_id, after_revision=sync.revision)) as snapshots:
        async for snapshot in snapshots:
            sync = snapshot
            memory.progress(sync.progress.items.seen_count)
    return sync


def _cpu(stack: Stack, store: Store) -> dict[str, float]:
    return {
        "store": machine.cpu_seconds(store.pid),
        "connector_svc": machine.cpu_seconds(stack.connector_pid),
        "catalog_svc": machine.cpu_seconds(stack.catalog_pid),
        "postgresql": machine.tree_cpu_seconds(stack.postmaster_pid),
    }


async def _database_state(stack: Stack, *, checkpoint: bool) -> tuple[int, int]:
    """Return WAL position in bytes and number of dead rows.

    A checkpoint before gives every sync the same start: after one, the first change of a page writes the whole
    page to the WAL.
    """
    async with stack.engine.connect() as connection:
        connection = await connection.execution_options(isolation_level="AUTOCOMMIT")
        if checkpoint:
            await connection.execute(text("CHECKPOINT"))
        return await _read_state(connection)


async def _read_state(connection: AsyncConnection) -> tuple[int, int]:
    row = (await connection.execute(_DATABASE_STATE)).one()
    return int(row.wal), int(row.dead)


async def _check(stack: Stack, shop: ServedShop, sync: Sync, strategy: str | None) -> None:
    check_succeeded(shop, sync)
    if strategy is not None and sync.strategy != strategy:
        raise BenchFailed(f"{shop.name} was read by {sync.strategy!r}, not by {strategy!r}")
    status = await stack.catalog.get_status(shop.name)
    if (status.product_count, status.item_count) != (shop.products, shop.items):
        raise BenchFailed(f"{status.item_count:,} items of {shop.name} are stored, not {shop.items:,}")


def check_succeeded(shop: ServedShop, sync: Sync) -> None:
    """Raise BenchFailed unless the sync succeeded at its first attempt."""
    if sync.state != Sync.STATE_SUCCEEDED:
        raise BenchFailed(f"the sync of {shop.name} ended as {Sync.State.Name(sync.state)}: {sync.error.message}")
    if sync.attempt_count != 1:
        raise BenchFailed(f"the sync of {shop.name} took {sync.attempt_count} attempts")


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the smallest of the values that `percent` of them do not exceed."""
    return sorted(values)[max(0, -(-len(values) * percent // 100) - 1)]
