"""Syncs are spread over the connectors that there are."""

from __future__ import annotations

import asyncio

from catalogsync.catalog.v1 import catalog_service_pb2 as pb

from demo.stack import wait_until_serving
from tests.e2e.conftest import CONNECTOR, free_port
from tests.e2e.small_system import SHOP, SmallSystem, small_system
from tests.e2e.test_metrics import scrape


async def sync(system: SmallSystem) -> pb.Sync:
    async with system.stub("catalog") as stub, asyncio.timeout(60):
        started = await stub.StartSync(pb.StartSyncRequest(shop=SHOP, mode=pb.Sync.MODE_FULL))
        async for message in stub.WatchSync(pb.WatchSyncRequest(sync_id=started.sync.sync_id)):
            last = message.sync
    return last


async def test_passes_take_turns_and_a_connector_that_is_gone_is_left_out() -> None:
    second, *metrics = (f"127.0.0.1:{free_port()}" for _ in range(3))
    async with small_system(products=20, latency_ms=0) as system:
        await system.start_connector("one", METRICS_ADDRESS=metrics[0])
        await system.start_connector("two", METRICS_ADDRESS=metrics[1], LISTEN_ADDRESS=second)
        await wait_until_serving(second, CONNECTOR)
        await system.start_catalog("catalog", CONNECTOR_ADDRESS=f"ipv4:{system.connector},{second}")
        for _ in range(4):
            assert (await sync(system)).state == pb.Sync.STATE_SUCCEEDED
        passes = [(await scrape(at)).value("connector_passes_complete_total") for at in metrics]
        assert passes == [2, 2]
        system.family.kill_one("two")
        for _ in range(2):
            assert (await sync(system)).state == pb.Sync.STATE_SUCCEEDED
