"""Counts over all shops, for metrics. Each is one scan, by a function that returns numbers only."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.monitoring import (
    FRESHNESS_BOUNDS,
    ActiveSyncs,
    AnalysisTasks,
    CatalogState,
    ShopFreshness,
)
from catalog_svc.storage.database import Database

_MAX_ANALYZERS: Final = 50
"""Analyzers are named by callers, and each is a label value of metrics: those with the most tasks are reported."""

_SELECT_ACTIVE_SYNCS = text("""
    SELECT platform, pending_count, oldest_pending_age, running_count, unowned_count, longest_unowned
    FROM active_syncs()""")

_SELECT_FRESHNESS = text("""
    SELECT age_group, shop_count, sum_seconds FROM shop_freshness(CAST(:bounds_seconds AS double precision[]))""")

_SELECT_ANALYSIS_TASKS = text("""
    SELECT analyzer, pending_count, leased_count, dead_count, oldest_age
    FROM analysis_task_counts(CAST(:max_count AS integer))""")


class MonitoringStore:
    """The state of the catalog as a whole."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self) -> CatalogState:
        """Return the state, all of it from one snapshot of the database."""
        return await self._database.read(_read)


async def _read(connection: AsyncConnection) -> CatalogState:
    return CatalogState(
        active_syncs=await _active_syncs(connection),
        freshness=await _freshness(connection),
        analysis_tasks=await _analysis_tasks(connection),
    )


async def _active_syncs(connection: AsyncConnection) -> list[ActiveSyncs]:
    return [
        ActiveSyncs(
            platform=row.platform,
            pending=row.pending_count,
            oldest_pending_age=_age(row.oldest_pending_age),
            running=row.running_count,
            unowned=row.unowned_count,
            longest_unowned=_age(row.longest_unowned),
        )
        for row in await connection.execute(_SELECT_ACTIVE_SYNCS)
    ]


async def _freshness(connection: AsyncConnection) -> ShopFreshness:
    bounds = [bound.total_seconds() for bound in FRESHNESS_BOUNDS]
    rows = (await connection.execute(_SELECT_FRESHNESS, {"bounds_seconds": bounds})).all()
    counts = {row.age_group: row.shop_count for row in rows}
    return ShopFreshness(
        counts=tuple(counts.get(group, 0) for group in range(len(bounds) + 1)),
        sum_seconds=sum(row.sum_seconds or 0.0 for row in rows),
        never_synced=counts.get(None, 0),
    )


async def _analysis_tasks(connection: AsyncConnection) -> list[AnalysisTasks]:
    return [
        AnalysisTasks(
            analyzer=row.analyzer,
            pending=row.pending_count,
            leased=row.leased_count,
            dead=row.dead_count,
            oldest_age=_age(row.oldest_age),
        )
        for row in await connection.execute(_SELECT_ANALYSIS_TASKS, {"max_count": _MAX_ANALYZERS})
    ]


def _age(found: timedelta | None) -> timedelta:
    return max(timedelta(), found or timedelta())
