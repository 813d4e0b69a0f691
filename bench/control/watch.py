"""The poll of the watch hub: many watched syncs, few of which have changed.

Beside ours, the poll before: all columns of all watched syncs.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from bench.common.measure import BenchFailed
from bench.control.rows import Size
from bench.control.timing import Durations, seconds_of, time_calls, watched_loop
from catalog_svc.storage.database import Database
from catalog_svc.storage.syncs import SyncStore
from catalog_svc.usecases.sync_hub import SyncHub

_POLLS = 50

_SELECT_WATCHED = """
    SELECT active_id FROM control_shop WHERE active_id IS NOT NULL ORDER BY n DESC LIMIT $1"""

_CHANGE = """
    UPDATE sync SET revision = revision + 1, items_seen = items_seen + 250, updated_at = clock_timestamp()
    WHERE (shop_id, sync_id) IN (SELECT shop_id, active_id FROM control_shop WHERE active_id = ANY($1))"""


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchFigures:
    """Durations of polls."""

    watched: int
    changed: int
    poll: Durations
    first_poll_seconds: float
    """Which reads all watched syncs."""
    longest_stall_ms: float
    """Of the event loop during all polls but the first one."""
    first_stall_ms: float
    all_columns_poll: Durations
    """Before."""


async def measure_watch(database: Database, connection: asyncpg.Connection, size: Size) -> WatchFigures:
    """Measure polls of a hub with a subscriber for each watched sync."""
    syncs = SyncStore(database)
    hub = SyncHub(syncs)
    watched = [row["active_id"] for row in await connection.fetch(_SELECT_WATCHED, size.watched)]
    with ExitStack() as stack:
        subscriptions = [stack.enter_context(hub.subscribe(sync_id)) for sync_id in watched]
        async with watched_loop() as first_stalls:
            first_poll_seconds = await seconds_of(hub._poll)
        seconds = []
        async with watched_loop() as stalls:
            for number in range(_POLLS):
                changed = _some(watched, number, size.changed)
                await connection.execute(_CHANGE, changed)
                seconds.append(await seconds_of(hub._poll))
        newest = [await one.current() for one in subscriptions]
        if sum(sync.revision for sync in newest) != len(watched) + _POLLS * size.changed:
            raise BenchFailed("a poll missed a revision")
        all_columns = await time_calls(lambda: syncs.get_many(watched), 5)
    return WatchFigures(
        watched=len(watched),
        changed=size.changed,
        poll=Durations.of(seconds),
        first_poll_seconds=round(first_poll_seconds, 3),
        longest_stall_ms=stalls.longest_ms,
        first_stall_ms=first_stalls.longest_ms,
        all_columns_poll=all_columns,
    )


def _some(sync_ids: list[UUID], number: int, count: int) -> list[UUID]:
    """Return `count` of the ids, others for each number."""
    start = number * count % (len(sync_ids) - count + 1)
    return sync_ids[start : start + count]
