"""Syncs that run on other replicas: rows in the database, and a process that advances them as those would.

Run as `python -m bench.watch.many_syncs` it is that process: until SIGTERM it writes a new revision of each active
sync every second and of each waiting sync every 20 seconds. Of many syncs at a time a tenth is active; the others
wait for a rate limit, a bulk job or their turn.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import asyncpg

from bench.common.cluster import Cluster
from bench.common.results import ROOT
from demo.processes import ProcessGroup

_ACTIVE_SHARE = 10
"""One of so many syncs is active."""
_ACTIVE_INTERVAL_SECONDS = 1.0
_WAITING_INTERVAL_SECONDS = 20.0
_TICK_SECONDS = 0.05
_END_STEPS = 50
_END_SECONDS = 10.0
"""Syncs of different shops do not end together."""

# The last ten hexadecimal digits of an id are the number of the sync within its shop; see catalog_svc.domain.ids.
_INSERT_SHOPS = """
    INSERT INTO shop (shop_id, platform, domain, currency_code)
    SELECT CAST(left(CAST(gen_random_uuid() AS text), 26) || '0000000000' AS uuid), 'shopify',
        'watched-' || n || '.myshopify.com', 'EUR'
    FROM generate_series(1, $1) AS n"""

_WATCHED = """(
        SELECT shop_id, CAST(left(CAST(shop_id AS text), 26) || '0000000001' AS uuid) AS sync_id FROM shop
        WHERE domain LIKE 'watched-%')"""

_INSERT_STATES = f"""
    INSERT INTO shop_state (shop_id, epoch, last_sync_number, active_sync_id)
    SELECT shop_id, 1, 1, sync_id FROM {_WATCHED} AS watched"""

_INSERT_SYNCS = f"""
    INSERT INTO sync (shop_id, sync_id, state, mode, trigger, pass_id, epoch, started_epoch, attempt_count,
        started_at, progressed_at)
    SELECT shop_id, sync_id, 'RUNNING', 'FULL', 'REQUEST', sync_id, 1, 1, 1, clock_timestamp(), clock_timestamp()
    FROM {_WATCHED} AS watched
    RETURNING sync_id"""

_ADVANCE = """
    UPDATE sync SET revision = revision + 1, updated_at = clock_timestamp(), progressed_at = clock_timestamp(),
        products_seen = products_seen + 50, products_created = products_created + 50,
        items_seen = items_seen + 250, items_created = items_created + 250, items_per_second = 250
    WHERE sync_id = ANY($1)"""

_END = """
    UPDATE sync SET state = 'SUCCEEDED', revision = revision + 1, updated_at = clock_timestamp(),
        ended_at = clock_timestamp()
    WHERE sync_id = ANY($1)"""


class OtherReplicas:
    """Syncs of other replicas."""

    def __init__(self, sync_ids: Sequence[str], database_url: str) -> None:
        self.sync_ids = sync_ids
        self._database_url = database_url

    async def end(self) -> None:
        """End all syncs as SUCCEEDED, one after the other over ten seconds."""
        connection = await asyncpg.connect(_plain(self._database_url))
        size = -(-len(self.sync_ids) // _END_STEPS)
        try:
            for start in range(0, len(self.sync_ids), size):
                await connection.execute(_END, self.sync_ids[start : start + size])
                await asyncio.sleep(_END_SECONDS / _END_STEPS)
        finally:
            await connection.close()


@asynccontextmanager
async def other_replicas(place: Path, cluster: Cluster, count: int) -> AsyncIterator[OtherReplicas]:
    """Yield `count` syncs that advance until the context ends."""
    connection = await asyncpg.connect(_plain(cluster.database_url))
    try:
        await connection.execute(_INSERT_SHOPS, count)
        await connection.execute(_INSERT_STATES)
        sync_ids = [str(row["sync_id"]) for row in await connection.fetch(_INSERT_SYNCS)]
    finally:
        await connection.close()
    file = place / "syncs_of_other_replicas.json"
    file.write_text(json.dumps(sync_ids), encoding="utf-8")
    arguments = ["--database", cluster.database_url, "--syncs", str(file)]
    async with ProcessGroup(directory=ROOT, logs=place) as processes:
        await processes.start("other-replicas", "-m", "bench.watch.many_syncs", *arguments)
        yield OtherReplicas(sync_ids, cluster.database_url)


def _plain(database_url: str) -> str:
    return database_url.replace("postgresql+asyncpg://", "postgresql://")


async def _advance(database_url: str, sync_ids: Sequence[str]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    connection = await asyncpg.connect(_plain(database_url))
    intervals = [
        _ACTIVE_INTERVAL_SECONDS if number % _ACTIVE_SHARE == 0 else _WAITING_INTERVAL_SECONDS
        for number in range(len(sync_ids))
    ]
    # Spread over their interval from the start.
    due = [loop.time() + interval * number / len(sync_ids) for number, interval in enumerate(intervals)]
    while not stop.is_set():
        now = loop.time()
        turns = [number for number, at in enumerate(due) if at <= now]
        for number in turns:
            due[number] += intervals[number]
        if turns:
            await connection.execute(_ADVANCE, [sync_ids[number] for number in turns])
        await asyncio.sleep(_TICK_SECONDS)
    await connection.close()


def main() -> None:
    """Run until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m bench.watch.many_syncs", description=__doc__)
    parser.add_argument("--database", required=True)
    parser.add_argument("--syncs", type=Path, required=True, help="a JSON list of sync ids")
    arguments = parser.parse_args()
    sync_ids = cast("list[str]", json.loads(arguments.syncs.read_text(encoding="utf-8")))
    asyncio.run(_advance(arguments.database, sync_ids))


if __name__ == "__main__":
    main()
