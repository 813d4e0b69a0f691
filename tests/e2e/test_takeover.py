"""A replica that goes in the middle of a sync is replaced by another one, and nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter

import pytest
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub

from tests.e2e.small_system import SHOP, SmallSystem, small_system


async def item_ids(stub: CatalogServiceStub) -> Counter[str]:
    """How often each item is stored."""
    found: Counter[str] = Counter()
    token = ""
    while True:
        page = await stub.ListItems(pb.ListItemsRequest(shop=SHOP, page_size=1000, page_token=token))
        found.update(item.item_id for item in page.items)
        token = page.next_page_token
        if not token:
            return found


async def sync_while(system: SmallSystem, number: signal.Signals) -> pb.Sync:
    """A sync whose replica gets the signal after its first batch, as another replica's watcher sees it end."""
    async with system.stub("first") as first, system.stub("second") as second:
        # The first replica takes the order and looks for work at once; the second one polls.
        started = await first.StartSync(pb.StartSyncRequest(shop=SHOP, mode=pb.Sync.MODE_FULL))
        last, signalled = started.sync, False
        async with asyncio.timeout(90):
            async for message in second.WatchSync(pb.WatchSyncRequest(sync_id=last.sync_id)):
                assert message.sync.revision >= last.revision
                last = message.sync
                if last.progress.items.seen_count and not signalled:
                    signalled = True
                    os.kill(system.family.pids["first"], number)
        found = await item_ids(second)
    assert last.state == pb.Sync.STATE_SUCCEEDED, last.error.message
    assert (len(found), max(found.values())) == (system.items, 1)
    return last


@pytest.mark.timeout(180)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_another_replica_goes_on(number: signal.Signals) -> None:
    """After a kill the lease must run out first (2 s here); a stopped replica hands its lease over."""
    async with small_system(products=750, latency_ms=1000) as system:
        await system.start_connector("connector")
        for name in ("first", "second"):
            await system.start_catalog(name)
        sync = await sync_while(system, number)
    assert sync.attempt_count >= 2
    assert sync.progress.items.seen_count == sync.progress.items.created_count == system.items
