"""Calls of one catalog_svc process over gRPC: many starts at once, and status.

All worker slots of the replica are taken by syncs of slow shops, so that the started syncs stay in the queue:
`make bench-shops` measures how they run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import uuid4

import asyncpg
from catalogsync.catalog.v1.catalog_service_pb2 import Sync
from catalogsync_client import CatalogClient, ShopName

from bench.common.cluster import running_services
from bench.common.measure import BenchFailed
from bench.common.store import running_slow_shops
from bench.control.rows import DEFAULTS, Size
from bench.control.timing import Durations, seconds_of, time_calls
from bench.latency.steps import timed_health_checks

_SLOTS = 8
"""Default of CATALOG_MAX_RUNNING_SYNCS."""
_SLOW_SHOP = "woocommerce:slow-{}.example:products=5000,version=10.3"
_SLOW_SHOP_LATENCY_MS = 2_000
_RUNNING_TIMEOUT_SECONDS = 60.0

_SELECT_IDLE = """
    SELECT platform, domain FROM shop JOIN control_shop USING (shop_id, platform)
    JOIN shop_state USING (shop_id)
    WHERE shop_state.active_sync_id IS NULL AND NOT broken ORDER BY n DESC LIMIT $1"""

# The syncs of slow shops are claimed before those that wait already.
_HIDE_QUEUE = "UPDATE sync_queue SET lease_until = clock_timestamp() + interval '1 day' WHERE lease_until IS NULL"
_SHOW_QUEUE = """
    UPDATE sync_queue SET lease_until = NULL FROM control_shop
    WHERE control_shop.shop_id = sync_queue.shop_id AND sync_queue.owner IS NULL AND NOT control_shop.running"""


@dataclass(frozen=True, kw_only=True, slots=True)
class CallFigures:
    """Durations of calls."""

    registered: Durations
    """Of StartSync, all at once, of registered shops."""
    new: Durations
    """Of StartSync, all at once, of shops that are registered by it."""
    status: Durations
    """Of GetStatus, one after the other."""
    longest_health_check_ms: float
    """During the starts: how long the event loop of the service was busy."""


async def measure_calls(
    directory: Path, database_url: str, connection: asyncpg.Connection, size: Size
) -> CallFigures:
    """Start the services on the database and measure calls."""
    settings = {
        "CATALOG_MAX_RUNNING_PER_PLATFORM": str(_SLOTS),
        "CATALOG_MAX_RUNNING_SYNCS": str(_SLOTS),
        "CATALOG_INCREMENTAL_EVERY": f"{DEFAULTS.incremental_every.total_seconds():.0f}s",
        "CATALOG_FULL_EVERY": f"{DEFAULTS.full_every.total_seconds():.0f}s",
    }
    specs = [_SLOW_SHOP.format(number) for number in range(_SLOTS)]
    tls = directory / "tls"
    idle = [ShopName(row["platform"], row["domain"]) for row in await connection.fetch(_SELECT_IDLE, size.calls)]
    new = [ShopName("shopify", f"new-{number}.myshopify.com") for number in range(size.calls)]
    await connection.execute(_HIDE_QUEUE)
    async with (
        running_slow_shops(directory / "slow", specs, tls=tls, latency_ms=_SLOW_SHOP_LATENCY_MS) as slow,
        running_services(
            directory, slow, ca_file=str(tls / "ca.pem"), database_url=database_url, settings=settings
        ) as cluster,
    ):
        (replica,) = cluster.replicas
        await _occupy_slots(replica.client, [shop.name for shop in slow])
        await connection.execute(_SHOW_QUEUE)
        async with timed_health_checks(replica.address) as health_checks:
            registered_seconds = await _start_all(replica.client, idle)
            new_seconds = await _start_all(replica.client, new)
        status = await time_calls(lambda: replica.client.get_status(idle[0]), size.calls)
        claimed = await replica.started_sync_count()
        if claimed != _SLOTS:
            raise BenchFailed(f"{claimed} syncs were claimed, not {_SLOTS}")
    return CallFigures(
        registered=Durations.of(registered_seconds),
        new=Durations.of(new_seconds),
        status=status,
        longest_health_check_ms=round(max(health_checks) * 1000, 1),
    )


async def _occupy_slots(client: CatalogClient, shops: Sequence[ShopName]) -> None:
    sync_ids = [(await _start(client, shop)).sync_id for shop in shops]
    async with asyncio.timeout(_RUNNING_TIMEOUT_SECONDS):
        for sync_id in sync_ids:
            async with aclosing(client.watch(sync_id, after_revision=0)) as snapshots:
                async for snapshot in snapshots:
                    if snapshot.state == Sync.STATE_RUNNING:
                        break


async def _start_all(client: CatalogClient, shops: Sequence[ShopName]) -> list[float]:
    return await asyncio.gather(*(seconds_of(partial(_start, client, shop)) for shop in shops))


async def _start(client: CatalogClient, shop: ShopName) -> Sync:
    return await client.start_sync(shop, mode=Sync.MODE_INCREMENTAL, request_id=str(uuid4()))
