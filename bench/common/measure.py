"""One sync, watched and measured from outside.

What several repetitions of the same sync come to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from statistics import median
from uuid import uuid4

from catalogsync.catalog.v1.catalog_service_pb2 import Sync
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from bench.common import machine
from bench.common.stack import Stack, Store

STATISTICS_DELAY = 11.0
"""Seconds; an idle PostgreSQL connection tells after 10 what it did."""

_STATE = text("""
    SELECT pg_current_wal_lsn() - '0/0'::pg_lsn AS wal,
           (SELECT coalesce(sum(n_tup_upd + n_tup_del), 0) FROM pg_stat_user_tables
            WHERE relname IN ('product', 'item')) AS dead""")


class BenchFailed(Exception):
    """A sync did not do what it was measured for; the figures would mean nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
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
    """Row versions of product and item that the sync has made obsolete; None: not counted."""
    peak_mb: dict[str, tuple[float, ...]]
    """Peak RSS of each service at the start, each quarter and the end."""
    backend_mb: tuple[float, ...]
    """Private memory of the largest PostgreSQL backend at the same times."""

    @property
    def rows_per_second(self) -> float:
        """Items per second."""
        return self.items / self.seconds


async def measured_sync(
    stack: Stack, store: Store, *, strategy: str | None = None, count_dead: bool = True
) -> Measured:
    """Runs a full sync and measures it. Raises BenchFailed unless it stored what the store has, read by `strategy`
    if one is named. Counting dead tuples takes STATISTICS_DELAY.
    """
    wal, dead = await _database_state(stack, checkpoint=True)
    cpu = _cpu(stack, store)
    peaks = _Peaks(stack, store.items)
    begin = time.monotonic()
    sync = await stack.family.supervise(store.family.supervise(_followed(stack, store, peaks)))
    seconds = time.monotonic() - begin
    cpu = {name: round(after - cpu[name], 2) for name, after in _cpu(stack, store).items()}
    peaks.take()
    if count_dead:
        await asyncio.sleep(STATISTICS_DELAY)
    wal_after, dead_after = await _database_state(stack, checkpoint=False)
    await _check(stack, store, sync, strategy)
    items = sync.progress.items
    return Measured(
        seconds=seconds,
        items=items.seen_count,
        created=items.created_count,
        updated=items.updated_count,
        unchanged=items.unchanged_count,
        cpu=cpu,
        wal_bytes=wal_after - wal,
        dead_tuples=dead_after - dead if count_dead else None,
        peak_mb={name: tuple(values) for name, values in peaks.services.items()},
        backend_mb=tuple(peaks.backend),
    )


class _Peaks:
    """Looks at the services' memory at the start and whenever another quarter of the items is stored."""

    def __init__(self, stack: Stack, items: int) -> None:
        self._stack = stack
        self._items = items
        self.services: dict[str, list[float]] = {"connector_svc": [], "catalog_svc": []}
        self.backend: list[float] = []
        self.take()

    def seen(self, items: int) -> None:
        while len(self.backend) < 4 and items >= self._items * len(self.backend) / 4:
            self.take()

    def take(self) -> None:
        self.services["connector_svc"].append(round(machine.peak_rss_mb(self._stack.connector_pid), 1))
        self.services["catalog_svc"].append(round(machine.peak_rss_mb(self._stack.catalog_pid), 1))
        backends = machine.children(self._stack.postmaster_pid)
        self.backend.append(round(max(map(machine.private_mb, backends), default=0.0), 1))


async def _followed(stack: Stack, store: Store, peaks: _Peaks) -> Sync:
    sync = await stack.catalog.start_sync(store.name, mode=Sync.MODE_FULL, request_id=str(uuid4()))
    async with aclosing(stack.catalog.watch(sync.sync_id, after_revision=sync.revision)) as snapshots:
        async for snapshot in snapshots:
            sync = snapshot
            peaks.seen(sync.progress.items.seen_count)
    return sync


def _cpu(stack: Stack, store: Store) -> dict[str, float]:
    return {
        "store": machine.cpu_seconds(store.pid),
        "connector_svc": machine.cpu_seconds(stack.connector_pid),
        "catalog_svc": machine.cpu_seconds(stack.catalog_pid),
        "postgresql": machine.family_cpu_seconds(stack.postmaster_pid),
    }


async def _database_state(stack: Stack, *, checkpoint: bool) -> tuple[int, int]:
    """WAL position and dead rows. A checkpoint first gives every sync the same start: pages are whole in the WAL
    once after each."""
    async with stack.engine.connect() as connection:
        connection = await connection.execution_options(isolation_level="AUTOCOMMIT")
        if checkpoint:
            await connection.execute(text("CHECKPOINT"))
        return await _read_state(connection)


async def _read_state(connection: AsyncConnection) -> tuple[int, int]:
    row = (await connection.execute(_STATE)).one()
    return int(row.wal), int(row.dead)


async def _check(stack: Stack, store: Store, sync: Sync, strategy: str | None) -> None:
    if sync.state != Sync.STATE_SUCCEEDED:
        raise BenchFailed(f"the sync of {store.name} ended as {Sync.State.Name(sync.state)}: {sync.error.message}")
    if sync.attempt_count != 1:
        raise BenchFailed(f"the sync of {store.name} was taken up {sync.attempt_count} times")
    if strategy is not None and sync.strategy != strategy:
        raise BenchFailed(f"{store.name} was read by {sync.strategy!r}, not by {strategy!r}")
    status = await stack.catalog.get_status(store.name)
    if (status.product_count, status.item_count) != (store.products, store.items):
        raise BenchFailed(f"{status.item_count:,} items of {store.name} are stored, not {store.items:,}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Medians:
    """Medians over repetitions, each figure for itself."""

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


def middle(repetitions: Sequence[Measured]) -> Medians:
    """The medians of at least one repetition."""

    def of(figure: Callable[[Measured], float]) -> float:
        return median(map(figure, repetitions))

    def cpu(name: str) -> float:
        return round(of(lambda one: one.cpu[name] / one.items * 100_000), 2)

    first = repetitions[0]
    dead = [one.dead_tuples for one in repetitions if one.dead_tuples is not None]
    rates = sorted(round(one.rows_per_second) for one in repetitions)
    return Medians(
        repetitions=len(repetitions),
        items=first.items,
        changed_items=first.created + first.updated,
        rows_per_second=round(median(rates)),
        slowest_rows_per_second=rates[0],
        fastest_rows_per_second=rates[-1],
        cpu_per_100k={name: cpu(name) for name in first.cpu},
        wal_bytes=round(of(lambda one: one.wal_bytes)),
        dead_tuples=round(median(dead)) if dead else None,
        peak_mb={name: max(one.peak_mb[name][-1] for one in repetitions) for name in first.peak_mb},
    )
