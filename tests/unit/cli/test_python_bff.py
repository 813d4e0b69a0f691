"""examples/python-bff against a fake catalog: repeated starts, streams that end before the sync, and its lines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub

from tests.fakes.catalog_service import CatalogServer, FailureWithReason, FakeCatalog
from tests.unit.cli.conftest import eventually
from tests.unit.cli.test_cli_frozen_replica import example
from tests.waiting import within_timeout

SHOP = pb.ShopRef(platform="shopify", domain="demo.myshopify.com")
follow = example()


@pytest.fixture
async def stub(server: CatalogServer) -> AsyncIterator[CatalogServiceStub]:
    async with grpc.aio.insecure_channel(server.address, options=follow.CHANNEL_OPTIONS) as channel:
        yield CatalogServiceStub(channel)


async def test_a_start_is_repeated_with_the_same_request_id(
    catalog: FakeCatalog, stub: CatalogServiceStub
) -> None:
    catalog.errors["StartSync"] = [FailureWithReason("STORAGE_UNAVAILABLE")]
    sync_id = await within_timeout(follow.start(stub, SHOP))
    sent = [request.request_id for _, request, _ in catalog.requests]
    assert (list(catalog.syncs), len(sent), len(set(sent))) == ([sync_id], 2, 1)


async def test_a_start_of_a_shop_with_an_active_sync_returns_that_sync(
    catalog: FakeCatalog, stub: CatalogServiceStub
) -> None:
    running = catalog.add_sync(pb.Shop(platform=SHOP.platform, domain=SHOP.domain))
    assert await within_timeout(follow.start(stub, SHOP)) == running.sync_id


async def test_a_watch_goes_on_after_each_reason_to_reconnect(
    catalog: FakeCatalog, stub: CatalogServiceStub
) -> None:
    sync = catalog.add_sync(pb.Shop(platform=SHOP.platform, domain=SHOP.domain))
    catalog.reconnects = [
        pb.WatchSyncResponse.RECONNECT_REASON_STREAM_EXPIRED,
        pb.WatchSyncResponse.RECONNECT_REASON_SERVER_DRAINING,
    ]
    seen: list[int] = []

    async def watch() -> None:
        async for snapshot in follow.watch(stub, sync.sync_id):
            seen.append(snapshot.revision)

    watching = asyncio.create_task(watch())
    await eventually(lambda: len(catalog.requests) == 3)
    await catalog.change(sync.sync_id, state=pb.Sync.STATE_SUCCEEDED)
    await within_timeout(watching)
    assert seen == [1, 2]
    assert [request.after_revision for _, request, _ in catalog.requests] == [0, 1, 1]


def ended(mode: pb.Sync.Mode.ValueType, **progress: Any) -> pb.Sync:
    sync = pb.Sync(state=pb.Sync.STATE_SUCCEEDED, mode=mode, progress=pb.Progress(**progress))
    sync.changes_since_time.FromDatetime(datetime(2026, 11, 20, 12, 0, tzinfo=UTC))
    return sync


@pytest.mark.parametrize(
    ("sync", "text"),
    [
        (
            ended(pb.Sync.MODE_INCREMENTAL, products=pb.RecordCounts(seen_count=3), checked_product_count=1200),
            "nothing changed since 2026-11-20 12:00:00Z, 3 products compared, 1200 products checked",
        ),
        (
            ended(pb.Sync.MODE_INCREMENTAL),
            "nothing changed since 2026-11-20 12:00:00Z, 0 products compared",
        ),
        (
            ended(pb.Sync.MODE_INCREMENTAL, items=pb.RecordCounts(rejected_count=1)),
            "0 changed items read, 1 records rejected",
        ),
        (
            ended(
                pb.Sync.MODE_FULL,
                items=pb.RecordCounts(seen_count=98, created_count=98, rejected_count=2),
                estimated_item_count=100,
            ),
            "98 items read, 2 records rejected",
        ),
    ],
)
def test_a_line_of_an_ended_sync_says_what_it_did_and_shows_no_estimate(sync: pb.Sync, text: str) -> None:
    assert follow.line(sync) == f"STATE_SUCCEEDED: {text}"
