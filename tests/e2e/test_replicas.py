"""Replicas share the syncs: another one takes over from a lost catalog, and lost connectors are skipped."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter

import grpc
import pytest
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub

from demo.stack import wait_until_serving
from tests.e2e.conftest import CONNECTOR, free_port
from tests.e2e.small_system import SHOP, SmallSystem, small_system
from tests.e2e.test_metrics import scrape


async def item_counts(stub: CatalogServiceStub) -> Counter[str]:
    """Return how often each item is stored."""
    counts: Counter[str] = Counter()
    token = ""
    while True:
        page = await stub.ListItems(pb.ListItemsRequest(shop=SHOP, page_size=1000, page_token=token))
        counts.update(item.item_id for item in page.items)
        token = page.next_page_token
        if not token:
            return counts


async def last_message(stub: CatalogServiceStub, sync_id: str) -> pb.WatchSyncResponse:
    """Watch one stream to its end with OK and return its last message."""
    async for message in stub.WatchSync(pb.WatchSyncRequest(sync_id=sync_id)):
        last = message
    return last


async def sync_with_signal(system: SmallSystem, number: signal.Signals) -> pb.Sync:
    """Signal the replica of a sync after its first batch, and watch its end at another one."""
    async with system.stub("first") as first, system.stub("second") as second:
        # The first replica creates the sync and claims it at once; the second one polls.
        started = await first.StartSync(pb.StartSyncRequest(shop=SHOP, mode=pb.Sync.MODE_FULL))
        last, signalled = started.sync, False
        watching = asyncio.create_task(last_message(first, last.sync_id))
        async with asyncio.timeout(90):
            async for message in second.WatchSync(pb.WatchSyncRequest(sync_id=last.sync_id)):
                assert message.sync.revision >= last.revision
                last = message.sync
                if last.progress.items.seen_count and not signalled:
                    signalled = True
                    os.kill(system.processes.pids["first"], number)
        counts = await item_counts(second)
        (of_first,) = await asyncio.gather(watching, return_exceptions=True)
    if number is signal.SIGTERM:
        assert isinstance(of_first, pb.WatchSyncResponse), of_first
        assert of_first.reconnect_reason == pb.WatchSyncResponse.RECONNECT_REASON_SERVER_DRAINING
    else:
        assert isinstance(of_first, grpc.aio.AioRpcError)
    assert last.state == pb.Sync.STATE_SUCCEEDED, last.error.message
    assert (len(counts), max(counts.values())) == (system.items, 1)
    return last


@pytest.mark.timeout(180)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_another_replica_takes_over_and_no_item_is_lost_or_duplicated(number: signal.Signals) -> None:
    """After a kill the lease must expire first (2 s here); a terminated replica hands its lease over."""
    async with small_system(products=750, latency_ms=1000) as system:
        await system.start_connector("connector")
        for name in ("first", "second"):
            await system.start_catalog(name)
        sync = await sync_with_signal(system, number)
    assert sync.attempt_count >= 2
    assert sync.progress.items.seen_count == sync.progress.items.created_count == system.items


async def sync_to_end(system: SmallSystem) -> pb.Sync:
    async with system.stub("catalog") as stub, asyncio.timeout(60):
        started = await stub.StartSync(pb.StartSyncRequest(shop=SHOP, mode=pb.Sync.MODE_FULL))
        async for message in stub.WatchSync(pb.WatchSyncRequest(sync_id=started.sync.sync_id)):
            last = message.sync
    return last


async def test_passes_alternate_between_connectors_and_a_lost_connector_is_skipped() -> None:
    second, *metrics = (f"127.0.0.1:{free_port()}" for _ in range(3))
    async with small_system(products=20, latency_ms=0) as system:
        await system.start_connector("one", METRICS_ADDRESS=metrics[0])
        await system.start_connector("two", METRICS_ADDRESS=metrics[1], LISTEN_ADDRESS=second)
        await wait_until_serving(second, CONNECTOR)
        await system.start_catalog("catalog", CONNECTOR_ADDRESS=f"ipv4:{system.connector},{second}")
        for _ in range(4):
            assert (await sync_to_end(system)).state == pb.Sync.STATE_SUCCEEDED
        passes = [(await scrape(at)).value("connector_passes_complete_total") for at in metrics]
        assert passes == [2, 2]
        system.processes.kill_one("two")
        for _ in range(2):
            assert (await sync_to_end(system)).state == pb.Sync.STATE_SUCCEEDED
