"""The Python client's own work on calls: request ids, pages, waiting for a sync, and use without an event loop."""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from typing import Any

import grpc
import pytest
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.catalog.v1.catalog_service_pb2_grpc import add_CatalogServiceServicer_to_server
from catalogsync_client import (
    BlockingCatalogClient,
    CatalogClient,
    ServiceUnavailable,
    SyncNotSuccessful,
    reasons,
    shop_ref,
)

from tests.fakes.catalog_service import CatalogServer, FailureWithReason, FakeCatalog
from tests.waiting import until, within_timeout

NAME = "shopify:demo.myshopify.com"


async def succeed(catalog: FakeCatalog, sync_id: str) -> None:
    await catalog.change(sync_id, state=pb.Sync.STATE_RUNNING)
    await catalog.change(sync_id, state=pb.Sync.STATE_SUCCEEDED)


async def fail(catalog: FakeCatalog, sync_id: str) -> None:
    await catalog.change(sync_id, state=pb.Sync.STATE_FAILED)


def test_every_method_of_the_service_is_called_by_the_client() -> None:
    service = pb.DESCRIPTOR.services_by_name["CatalogService"]
    source = inspect.getsource(CatalogClient)
    missing = [method.name for method in service.methods if f"self._stub.{method.name}" not in source]
    assert missing == []


async def test_a_start_that_is_repeated_has_one_request_id(catalog: FakeCatalog, server: CatalogServer) -> None:
    catalog.errors["StartSync"] = [FailureWithReason("STORAGE_UNAVAILABLE")]
    async with CatalogClient(server.address) as client:
        await client.start_sync(NAME)
    first, second = (request.request_id for _, request, _ in catalog.requests)
    assert first == second != ""
    assert len(catalog.syncs) == 1


class ShutsDown(FakeCatalog):
    """Cancels the first call of two methods, as gRPC does with calls that a server has not begun when it stops."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    async def GetSync(self, request: pb.GetSyncRequest, context: Any) -> pb.GetSyncResponse:
        await self._cancel_first("GetSync", context)
        return await super().GetSync(request, context)

    async def StartSync(self, request: pb.StartSyncRequest, context: Any) -> pb.StartSyncResponse:
        await self._cancel_first("StartSync", context)
        return await super().StartSync(request, context)

    async def _cancel_first(self, method: str, context: Any) -> None:
        self.calls[method] += 1
        if self.calls[method] == 1:
            await context.abort(grpc.StatusCode.CANCELLED, "")


async def test_a_call_that_a_stopping_server_cancels_is_repeated() -> None:
    """By gRPC, with the service config, or by the client itself where the config cannot tell."""
    servicer, server = ShutsDown(), grpc.aio.server()
    add_CatalogServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with CatalogClient(f"127.0.0.1:{port}") as client:
            sync = await client.start_sync(NAME)
            assert await client.get_sync(sync.sync_id) == sync
    finally:
        await server.stop(None)
    assert servicer.calls == {"GetSync": 2, "StartSync": 2}


async def test_two_starts_have_two_request_ids(catalog: FakeCatalog, server: CatalogServer) -> None:
    async with CatalogClient(server.address) as client:
        sync = await client.start_sync(NAME)
        await client.cancel_sync(sync.sync_id)
        await client.start_sync(NAME)
    assert len(catalog.syncs) == 2


async def test_sync_and_wait_shows_each_snapshot_and_returns_the_last(
    catalog: FakeCatalog, server: CatalogServer
) -> None:
    catalog.execute = succeed
    seen: list[int] = []
    async with CatalogClient(server.address) as client:
        ended = await within_timeout(
            client.sync_and_wait(NAME, on_progress=lambda sync: seen.append(sync.revision))
        )
    assert ended.state == pb.Sync.STATE_SUCCEEDED
    assert seen == sorted(seen)
    assert seen[-1] == ended.revision


async def test_sync_and_wait_raises_for_a_sync_that_failed(catalog: FakeCatalog, server: CatalogServer) -> None:
    catalog.execute = fail
    async with CatalogClient(server.address) as client:
        with pytest.raises(SyncNotSuccessful) as caught:
            await within_timeout(client.sync_and_wait(NAME))
    assert caught.value.sync.state == pb.Sync.STATE_FAILED


async def test_sync_and_wait_waits_for_the_active_sync_unless_told_otherwise(
    catalog: FakeCatalog, server: CatalogServer, shop: pb.Shop
) -> None:
    running = catalog.add_sync(shop)
    async with CatalogClient(server.address) as client:
        with pytest.raises(reasons.SyncAlreadyRunning):
            await client.sync_and_wait(NAME, join_running=False)
        waiting = asyncio.ensure_future(client.sync_and_wait(NAME))
        await until(lambda: catalog.watcher_count == 1)
        await catalog.change(running.sync_id, state=pb.Sync.STATE_SUCCEEDED)
        assert (await within_timeout(waiting)).sync_id == running.sync_id


async def test_an_iterator_reads_all_pages_and_leaves_the_request_as_it_is(
    catalog: FakeCatalog, server: CatalogServer, shop: pb.Shop
) -> None:
    syncs = [catalog.add_sync(shop, state=pb.Sync.STATE_SUCCEEDED) for _ in range(7)]
    request = pb.ListSyncsRequest(page_size=3)
    async with CatalogClient(server.address) as client:
        found = [sync.sync_id async for sync in client.syncs(request)]
    assert found == [sync.sync_id for sync in reversed(syncs)]
    assert request == pb.ListSyncsRequest(page_size=3)
    assert len(catalog.requests) == 3


async def test_the_blocking_client_calls_iterates_and_waits(
    catalog: FakeCatalog, server: CatalogServer, shop: pb.Shop
) -> None:
    catalog.execute = succeed
    catalog.register(shop)

    def script() -> tuple[str, int, list[str]]:
        with BlockingCatalogClient(server.address) as client:
            ended = client.sync_and_wait(NAME)
            status = client.run(lambda calls: calls.get_status(NAME))
            listed = client.iterate(lambda calls: calls.syncs(pb.ListSyncsRequest()))
            watched = client.iterate(lambda calls: calls.watch(ended.sync_id))
            assert [sync.state for sync in watched] == [pb.Sync.STATE_SUCCEEDED]
            return ended.sync_id, status.item_count, [sync.sync_id for sync in listed]

    sync_id, item_count, listed = await within_timeout(asyncio.to_thread(script))
    assert (item_count, listed) == (0, [sync_id])


async def test_leaving_the_loop_of_a_blocking_stream_ends_its_call(
    catalog: FakeCatalog, server: CatalogServer, shop: pb.Shop
) -> None:
    running = catalog.add_sync(shop)

    def script() -> None:
        with BlockingCatalogClient(server.address) as client:
            snapshots = client.iterate(lambda calls: calls.watch(running.sync_id))
            next(snapshots)
            snapshots.close()  # type: ignore[attr-defined]

    await within_timeout(asyncio.to_thread(script))
    await until(lambda: catalog.watcher_count == 0)


def test_an_error_of_the_blocking_client_is_the_same_class() -> None:
    with BlockingCatalogClient("127.0.0.1:1", timeout_seconds=2) as client, pytest.raises(ServiceUnavailable):
        client.sync_and_wait(NAME)


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("Shopify:Demo.myshopify.com.", pb.ShopRef(platform="shopify", domain="demo.myshopify.com")),
        (
            "01A225A6-9b86-7723-98e2-2fbdc3000000",
            pb.ShopRef(shop_id="01a225a6-9b86-7723-98e2-2fbdc3000000"),
        ),
    ],
)
def test_a_shop_is_named_by_platform_and_domain_or_by_its_id(text: str, ref: pb.ShopRef) -> None:
    assert shop_ref(text) == ref


@pytest.mark.parametrize("text", ["demo.myshopify.com", "shopify:", ":demo", "shopify:a/b", "a:b:c", ""])
def test_a_text_that_names_no_shop_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write platform:domain"):
        shop_ref(text)
