"""Watchers whose connections all break at once come back by themselves, and each sees the end of its sync.

`make bench-storm` shows how soon 5,000 of them are back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from datetime import timedelta
from random import Random
from uuid import UUID

import grpc
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from catalogsync_client import Disconnect, RetryPolicy
from catalogsync_client.caller import OpenStream
from catalogsync_client.watch import WatchCall, watch
from catalogsync_common.rpc_spans import ClientCallSpan
from catalogsync_common.settings import ListenAddress
from pydantic import SecretStr

from catalog_svc import bootstrap
from catalog_svc.domain.shop import ShopKey
from catalog_svc.settings import CatalogSettings
from tests.chaos.fault_proxy import FaultProxy
from tests.integration.catalog_svc.conftest import CatalogWorld
from tests.pgbouncer import is_pooled
from tests.waiting import until, within_timeout

WATCHERS, SHOPS, CHANNELS = 500, 25, 5
"""Twenty watchers of each shop: as many as a shop may have."""


class Watcher:
    """A client that watches one sync to its end."""

    def __init__(self, stub: CatalogServiceStub, sync_id: UUID) -> None:
        self._stub = stub
        self._sync_id = str(sync_id)
        self.revisions: list[int] = []
        self.last = pb.Sync()
        self.breaks = 0
        self.returns = 0

    async def watch(self) -> None:
        """Return after the terminal snapshot."""
        snapshots = watch(
            self._open, callee="catalog_svc", on_connection=self._on_connection, retry_policy=RetryPolicy()
        )
        async with aclosing(snapshots):
            async for self.last in snapshots:
                self.revisions.append(self.last.revision)

    async def _open(self, revision: int) -> WatchCall:
        request = pb.WatchSyncRequest(sync_id=self._sync_id, after_revision=revision)
        return OpenStream(self._stub.WatchSync(request), ClientCallSpan(request))

    def _on_connection(self, disconnect: Disconnect | None) -> None:
        self.breaks += disconnect is not None
        self.returns += disconnect is None


@asynccontextmanager
async def proxied_catalog(database_url: str) -> AsyncIterator[FaultProxy]:
    """Run catalog_svc with its default limits, without a worker that claims syncs, behind a proxy."""
    settings = CatalogSettings(
        database_url=SecretStr(database_url),
        database_pooled=is_pooled(database_url),
        listen_address=ListenAddress("127.0.0.1:0"),
        connector_address="127.0.0.1:1",
        stop_grace=timedelta(seconds=1),
    )
    async with (
        bootstrap.running(settings) as port,
        FaultProxy(lambda: [port], random=Random(1)).listening() as proxy,
    ):
        yield proxy


async def test_five_hundred_watchers_come_back_and_see_the_end(world: CatalogWorld, database_url: str) -> None:
    syncs = [await world.create_sync(shop=ShopKey("shopify", f"s{n}.myshopify.com")) for n in range(SHOPS)]
    # No worker claims them: nothing but the test changes them.
    await world.execute("UPDATE sync_queue SET lease_until = now() + interval '1 h', owner = gen_random_uuid()")
    async with proxied_catalog(database_url) as proxy, AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        stubs = []
        for _ in range(CHANNELS):
            options = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 2_000))
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(proxy.address, options=options))
            stubs.append(CatalogServiceStub(channel))
        watchers = [Watcher(stubs[n % CHANNELS], syncs[n % SHOPS].sync_id) for n in range(WATCHERS)]
        watching = [tasks.create_task(watcher.watch()) for watcher in watchers]
        await until(lambda: all(watcher.revisions for watcher in watchers))
        for storm in (1, 2):
            assert proxy.drop() == CHANNELS
            await until(lambda storm=storm: all(watcher.returns == storm for watcher in watchers))  # type: ignore[misc]
        for sync in syncs:
            await world.commands.cancel(sync.sync_id)
        await within_timeout(asyncio.gather(*watching))
    assert {watcher.last.state for watcher in watchers} == {pb.Sync.STATE_CANCELLED}
    assert all(watcher.breaks >= 2 for watcher in watchers)
    assert all(watcher.revisions == sorted(set(watcher.revisions)) for watcher in watchers)
