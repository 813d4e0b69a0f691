"""A sync that runs."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from uuid import uuid4

from catalogsync.catalog.v1.catalog_service_pb2 import Sync
from catalogsync_cli.client import CatalogClient

from bench.common.measure import BenchFailed
from bench.common.store import ServedShop

_PATIENCE = 30.0
"""Seconds."""


async def started(client: CatalogClient, shop: ServedShop) -> Sync:
    """A full sync of the shop that has stored something. Raises BenchFailed when it ends before."""
    sync = await client.start_sync(shop.name, mode=Sync.MODE_FULL, request_id=str(uuid4()))
    async with (
        asyncio.timeout(_PATIENCE),
        aclosing(client.watch(sync.sync_id, after_revision=sync.revision)) as snapshots,
    ):
        async for snapshot in snapshots:
            if snapshot.progress.items.seen_count:
                return snapshot
    raise BenchFailed(f"the sync of {shop.name} stored nothing")
