"""Claims from a long queue, the search for due shops, and the rate at which a scheduler starts syncs.

Beside ours, the statements of the design before decision 36, over the present tables: a claim sorted all active
syncs, and the search for due shops looked at the last sync of each shop that was past its due time.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

import asyncpg
from catalogsync_common.drain import Drain
from sqlalchemy import text

from bench.common.measure import BenchFailed
from bench.control.rows import DEFAULTS, FULL_PLATFORMS, MAX_SCHEDULED_PER_PLATFORM, PLATFORMS, Size
from bench.control.timing import Durations, execution, time_calls
from catalog_svc.domain.status import NEEDS_ACTION
from catalog_svc.metrics import NullSyncMetrics
from catalog_svc.storage.database import Database
from catalog_svc.storage.leases import LeaseStore
from catalog_svc.storage.schedules import ScheduleStore
from catalog_svc.storage.sync_commands import SyncCommandStore
from catalog_svc.usecases.scheduler import Scheduler, SchedulerConfig

_LEASE_TTL = timedelta(days=1)
"""No claimed sync becomes claimable again."""
_MANY = 16
_DUE_LIMIT = SchedulerConfig().batch_size

# The columns of the lease, which were in `sync` then, are left out: this is the search only, without the claim.
_SORTED_CLAIM = text("""
    SELECT sync.shop_id, sync.sync_id, sync.epoch FROM sync
    JOIN shop ON shop.shop_id = sync.shop_id
    WHERE sync.state IN ('PENDING', 'RUNNING')
    ORDER BY sync.trigger = 'SCHEDULE', sync.sync_id LIMIT 20""")

_DUE_BY_LAST_SYNC = text("""
    SELECT shop.*, schedule.* FROM shop_schedule AS schedule
    JOIN shop ON shop.shop_id = schedule.shop_id
    LEFT JOIN LATERAL (
        SELECT sync.state, sync.error_reason, sync.ended_at FROM sync WHERE sync.shop_id = schedule.shop_id
        ORDER BY sync.sync_id DESC LIMIT 1) AS latest ON true
    WHERE NOT schedule.paused
      AND least(schedule.incremental_due_at, schedule.full_due_at) <= clock_timestamp()
      AND coalesce(latest.state NOT IN ('PENDING', 'RUNNING'), true)
      AND NOT coalesce(latest.error_reason = ANY(CAST(:broken AS text[]))
                       AND latest.ended_at > clock_timestamp() - interval '1 day', false)
    ORDER BY least(schedule.incremental_due_at, schedule.full_due_at) LIMIT 20""")

_MAKE_DUE = """
    UPDATE shop_schedule SET incremental_due_at = clock_timestamp() - interval '1 minute' * random()
    WHERE shop_id IN (
        SELECT shop_id FROM control_shop
        WHERE active_id IS NULL AND NOT broken AND platform <> ALL($1) ORDER BY n LIMIT $2)"""


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueFigures:
    """Durations of claims and of searches for due shops, and starts per second."""

    one_claim: Durations
    many_claims: Durations
    """Of 16 syncs at once."""
    claim_without_platforms: Durations
    """One claim while a third of the queue's platforms is excluded."""
    sorted_claim: Durations
    """Before."""
    nothing_due: Durations
    some_due: Durations
    due_by_last_sync: Durations
    """Before; nothing is due."""
    starts_per_second: float


async def measure_queue(
    database: Database, connection: asyncpg.Connection, size: Size, *, owner: Database
) -> QueueFigures:
    """Measure claims, then the scheduler; `owner` runs the queries of before, which read all shops."""
    leases = LeaseStore(database, owner=uuid4(), ttl=_LEASE_TTL)
    schedules = ScheduleStore(database)

    async def claim(limit: int, without: tuple[str, ...] = ()) -> None:
        claimed = await leases.claim(limit=limit, without_platforms=without)
        if len(claimed) != limit:
            raise BenchFailed(f"{len(claimed)} syncs were claimed, not {limit}")
        if any(one.sync.shop.key.platform in without for one in claimed):
            raise BenchFailed("a sync of an excluded platform was claimed")

    async def due(expected: int) -> None:
        found = await schedules.due(most_per_platform=MAX_SCHEDULED_PER_PLATFORM, limit=_DUE_LIMIT)
        if len(found) != expected:
            raise BenchFailed(f"{len(found)} shops are due, not {expected}")

    before = {"broken": sorted(NEEDS_ACTION)}
    one_claim = await time_calls(lambda: claim(1), size.claims)
    many_claims = await time_calls(lambda: claim(_MANY), size.claims // 10)
    excluding = await time_calls(lambda: claim(1, PLATFORMS[-2:]), size.claims // 3)
    sorted_claim = await time_calls(lambda: owner.read(execution(_SORTED_CLAIM)), 20)
    nothing_due = await time_calls(lambda: due(0), size.claims)
    due_by_last_sync = await time_calls(lambda: owner.read(execution(_DUE_BY_LAST_SYNC, before)), 20)
    await connection.execute(_MAKE_DUE, list(FULL_PLATFORMS), size.due)
    some_due = await time_calls(lambda: due(min(size.due, _DUE_LIMIT)), size.claims)
    return QueueFigures(
        one_claim=one_claim,
        many_claims=many_claims,
        claim_without_platforms=excluding,
        sorted_claim=sorted_claim,
        nothing_due=nothing_due,
        some_due=some_due,
        due_by_last_sync=due_by_last_sync,
        starts_per_second=round(await _starts_per_second(database, connection, size), 1),
    )


async def _starts_per_second(database: Database, connection: asyncpg.Connection, size: Size) -> float:
    """Let one scheduler start all due syncs."""
    scheduler = Scheduler(
        schedules=ScheduleStore(database),
        commands=SyncCommandStore(database),
        drain=Drain(),
        wake_worker=lambda: None,
        defaults=DEFAULTS,
        overlap=timedelta(minutes=5),
        config=SchedulerConfig(),
        metrics=NullSyncMetrics(),
    )
    before = await connection.fetchval("SELECT count(*) FROM sync_queue")
    begin = time.perf_counter()
    while await scheduler.tick():
        pass
    seconds = time.perf_counter() - begin
    started = await connection.fetchval("SELECT count(*) FROM sync_queue") - before
    if started != size.due:
        raise BenchFailed(f"{started} syncs were started, not {size.due}")
    return float(started / seconds)
