"""The limits of the catalog's calls, over gRPC: starts per shop, watchers, pages, and the size of every field."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import grpc
import pytest
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.catalog.v1.catalog_service_pb2_grpc import (
    CatalogServiceStub,
    add_CatalogServiceServicer_to_server,
)
from catalogsync_common.channel import open_channel
from catalogsync_common.server import Service, build_server
from catalogsync_common.settings import ListenAddress
from catalogsync_common.status import ReceivedFailure, read_failure, read_failure_now
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message

from catalog_svc.domain.shop import ShopKey
from catalog_svc.metrics import NullDeliveryMetrics
from catalog_svc.rpc.page_tokens import PageTokens
from catalog_svc.rpc.servicer import CatalogServicer
from catalog_svc.usecases.sync_hub import SyncHub
from catalog_svc.usecases.watch_pacing import WatchLimits, WatchPacing
from catalog_svc.usecases.watch_sync import WatchSync
from catalog_svc.usecases.watcher_limits import WatcherLimiter
from tests.fakes.product_source import MemorySource, product
from tests.integration.catalog_svc.catalog_server import service
from tests.integration.catalog_svc.conftest import SHOP, CatalogWorld
from tests.waiting import TIMEOUT_SECONDS, until, until_found

REF = pb.ShopRef(platform=SHOP.platform, domain=SHOP.domain)
OTHER = ShopKey("shopify", "other.myshopify.com")
METHODS: list[MethodDescriptor] = list(pb.DESCRIPTOR.services_by_name["CatalogService"].methods)


async def refusal(call: Any) -> ReceivedFailure:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return read_failure_now(caught.value)


async def refused_watch(call: Any) -> ReceivedFailure | None:
    """Return why a watch was refused; None if its first message arrived."""
    try:
        await call.read()
    except grpc.aio.AioRpcError as error:
        return await read_failure(error, call)
    return None


class TestStarts:
    """A shop's syncs start as often as a person clicks, and no more than that in the long run."""

    async def test_five_starts_of_a_shop_pass_and_the_sixth_learns_when_to_come_again(
        self, world: CatalogWorld, database_url: str
    ) -> None:
        await world.create_sync()
        await world.create_sync(shop=OTHER)
        names = [REF, pb.ShopRef(platform="SHOPIFY", domain=SHOP.domain.upper() + ".")]
        async with service(database_url) as stub:
            request_id = str(uuid4())
            for number in range(5):
                failure = await refusal(
                    stub.StartSync(pb.StartSyncRequest(shop=names[number % 2], request_id=request_id))
                )
                assert failure.reason == "SYNC_ALREADY_RUNNING"
            failure = await refusal(stub.StartSync(pb.StartSyncRequest(shop=REF, request_id=request_id)))
            assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
            assert failure.metadata == {"limit_kind": "shop", "limit": "0.1/s, 5 at once"}
            assert failure.retry_after is not None
            assert timedelta() < failure.retry_after <= timedelta(seconds=10)
            other = pb.ShopRef(platform=OTHER.platform, domain=OTHER.domain)
            assert (
                await refusal(stub.StartSync(pb.StartSyncRequest(shop=other)))
            ).reason == "SYNC_ALREADY_RUNNING"
            assert (await stub.GetStatus(pb.GetStatusRequest(shop=REF))).HasField("active_sync")

    async def test_resumes_count_for_the_shop_of_their_sync(self, world: CatalogWorld, database_url: str) -> None:
        created = await world.create_sync()
        async with service(database_url, start_sync_burst=1) as stub:
            request = pb.ResumeSyncRequest(sync_id=str(created.sync_id))
            assert (await refusal(stub.ResumeSync(request))).reason == "SYNC_ALREADY_RUNNING"
            assert (await refusal(stub.ResumeSync(request))).reason == "RATE_LIMITED"

    async def test_an_interval_of_zero_means_no_limit(self, world: CatalogWorld, database_url: str) -> None:
        await world.create_sync()
        async with service(database_url, start_sync_interval=timedelta(), start_sync_burst=1) as stub:
            for _ in range(5):
                failure = await refusal(stub.StartSync(pb.StartSyncRequest(shop=REF)))
                assert failure.reason == "SYNC_ALREADY_RUNNING"


class TestWatchers:
    """One shop cannot take the places of the others, and a client that does not read loses its place."""

    async def test_a_shop_has_a_maximum_of_watchers(self, world: CatalogWorld, database_url: str) -> None:
        syncs = [await world.create_sync(), await world.create_sync(shop=OTHER)]
        mine, other = (pb.WatchSyncRequest(sync_id=str(sync.sync_id)) for sync in syncs)
        async with service(database_url, max_watchers_per_shop=2) as stub:
            calls = [stub.WatchSync(mine) for _ in range(2)]
            for call in calls:
                assert await refused_watch(call) is None
            failure = await refused_watch(stub.WatchSync(mine))
            assert failure is not None
            assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_WATCHERS")
            assert failure.metadata == {"limit_kind": "shop_watchers", "limit": "2"}
            assert failure.retry_after is not None
            assert await refused_watch(stub.WatchSync(other)) is None
            calls[0].cancel()

            async def again() -> bool | None:
                return True if await refused_watch(stub.WatchSync(mine)) is None else None

            assert await until_found(again)

    async def test_the_replica_has_a_maximum_of_watchers(self, world: CatalogWorld, database_url: str) -> None:
        syncs = [await world.create_sync(), await world.create_sync(shop=OTHER)]
        mine, other = (pb.WatchSyncRequest(sync_id=str(sync.sync_id)) for sync in syncs)
        async with service(database_url, max_watchers=1) as stub:
            call = stub.WatchSync(mine)
            assert await refused_watch(call) is None
            failure = await refused_watch(stub.WatchSync(other))
            assert failure is not None
            assert failure.metadata == {"limit_kind": "watchers", "limit": "1"}

    async def test_a_watcher_that_does_not_read_loses_both_its_places(self, world: CatalogWorld) -> None:
        created = await world.create_sync()
        hub = SyncHub(
            world.syncs,
            limiter=WatcherLimiter(max_watchers=1, max_watchers_per_shop=1),
            pacing=WatchPacing(min_interval=timedelta(milliseconds=1)),
        )
        follow = WatchSync(hub=hub, drain=world.drain, metrics=NullDeliveryMetrics(), limits=WatchLimits())
        servicer = CatalogServicer(cast("Any", SimpleNamespace(follow=follow)), PageTokens(b"k" * 32))
        server = build_server(
            (
                Service(
                    name="catalogsync.catalog.v1.CatalogService",
                    register=lambda server: add_CatalogServiceServicer_to_server(servicer, server),
                ),
            ),
            listen_address=ListenAddress("127.0.0.1:0"),
            drain=world.drain,
            write_timeout=timedelta(milliseconds=200),
        )
        port = await server.start()
        request = pb.WatchSyncRequest(sync_id=str(created.sync_id))
        async with open_channel(f"127.0.0.1:{port}") as channel:
            stuck = CatalogServiceStub(channel).WatchSync(request)
            await stuck.read()
            assert hub.watcher_count == 1
            latest = replace(created, notes=("x" * 300_000,))

            def publish_until_stalled() -> bool:
                nonlocal latest
                latest = replace(latest, revision=latest.revision + 1)
                hub.publish(latest)
                return hub.watcher_count == 0

            await until(publish_until_stalled)
            assert not stuck.done(), "its client is still connected"
            async with open_channel(f"127.0.0.1:{port}") as other_channel:
                other = CatalogServiceStub(other_channel).WatchSync(request)
                assert await refused_watch(other) is None
                assert hub.watcher_count == 1
        await server.stop(timedelta())


async def test_a_page_is_never_larger_than_its_cap(world: CatalogWorld, database_url: str) -> None:
    await world.sync(MemorySource([product(f"{n}", items=4) for n in range(300)]))
    async with service(database_url) as stub:
        items = await stub.ListItems(pb.ListItemsRequest(shop=REF, page_size=2**31 - 1))
        products = await stub.ListProducts(pb.ListProductsRequest(shop=REF, page_size=2**31 - 1))
        assert (len(items.items), bool(items.next_page_token)) == (1000, True)
        assert len(products.products) <= 250
        assert products.next_page_token


def paths(message: Any, prefix: str = "") -> Iterator[tuple[str, FieldDescriptor]]:
    """Yield the text, bytes and repeated fields of a message and of those within, by path."""
    for field in message.fields:
        path = f"{prefix}{field.name}"
        is_message = field.type == FieldDescriptor.TYPE_MESSAGE
        if field.is_repeated or field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
            yield path, field
        elif is_message and field.message_type.file.package != "google.protobuf":
            yield from paths(field.message_type, f"{path}.")
        elif is_message and field.message_type.full_name == "google.protobuf.FieldMask":
            yield f"{path}.paths", field.message_type.fields_by_name["paths"]


OVERSIZED = [(method, path, field) for method in METHODS for path, field in paths(method.input_type)]


@pytest.fixture
async def stub(world: CatalogWorld, database_url: str) -> AsyncIterator[CatalogServiceStub]:
    async with service(database_url) as running:
        yield running


async def test_no_field_of_any_request_is_unbounded(world: CatalogWorld, stub: CatalogServiceStub) -> None:
    """A new field without a limit fails here."""
    created = await world.create_sync()
    for method, path, field in OVERSIZED:
        request = _valid(method, sync_id=str(created.sync_id))
        _oversize(request, path, field)
        call: Any = getattr(stub, method.name)(request, timeout=TIMEOUT_SECONDS)
        failure = await (_ended(call) if method.server_streaming else refusal(call))
        assert failure.code is grpc.StatusCode.INVALID_ARGUMENT, (method.name, path, failure)
        assert f"{path.removesuffix('.paths')}:" in f"; {failure.message}", (method.name, path, failure)
        assert len(failure.message) < 1000


async def _ended(call: Any) -> ReceivedFailure:
    failure = await refused_watch(call)
    assert failure is not None
    return failure


def _valid(method: MethodDescriptor, *, sync_id: str) -> Any:
    """Return a request that is valid, whose update names all fields that it can change."""
    request = cast("Any", getattr(pb, method.input_type.name)())
    values: dict[str, Any] = {"sync_id": sync_id, "product_id": "1", "item_id": "1", "platform": SHOP.platform}
    for field in method.input_type.fields:
        if field.name == "shop":
            request.shop.CopyFrom(REF)
        elif field.name == "update_mask":
            request.update_mask.paths.extend(["merchant_id", "display_name", "analyzers"])
            request.update.SetInParent()
        elif field.name in values:
            setattr(request, field.name, values[field.name])
        elif field.name == "domain":
            request.domain = SHOP.domain
    return request


def _oversize(request: Message, path: str, field: FieldDescriptor) -> None:
    *parents, name = path.split(".")
    target: Any = request
    for parent in parents:
        target = getattr(target, parent)
    if path == "shop.shop_id":
        target.Clear()
    if field.is_repeated and field.type == FieldDescriptor.TYPE_MESSAGE:
        for _ in range(100_000):
            getattr(target, name).add()
    elif field.is_repeated:
        value: Any = "paused" if field.type == FieldDescriptor.TYPE_STRING else 1
        getattr(target, name).extend([value] * 100_000)
    else:
        text = "1" * 2_000_000
        setattr(target, name, text.encode() if field.type == FieldDescriptor.TYPE_BYTES else text)
