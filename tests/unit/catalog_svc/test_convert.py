"""Conversion for clients: an ended sync shows no outdated estimates; names that are stored become enum values."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.errors.v1 import error_reason_pb2
from catalogsync.types.v1 import product_pb2

from catalog_svc.domain.catalog_reads import Item
from catalog_svc.domain.schedule import ScheduleDefaults, StoredSchedule
from catalog_svc.domain.shop import Shop, ShopKey
from catalog_svc.domain.status import CatalogCounts, LatestSyncs, ShopStatus
from catalog_svc.domain.sync import Progress, RecordCounts, Sync, SyncError, SyncMode, SyncState, SyncTrigger
from catalog_svc.rpc import convert, convert_catalog
from catalog_svc.usecases.stream_lifetime import ReconnectReason
from catalog_svc.usecases.watch_sync import Snapshot

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
SHOP = Shop(merchant_id="acme", shop_id=UUID(int=2), key=ShopKey("woocommerce", "store.example"))
PROGRESS = Progress(
    products=RecordCounts(seen=2996, created=2996),
    items=RecordCounts(seen=3996, created=3990, unchanged=6, rejected=2),
    estimated_product_count=3000,
    estimated_item_count=4054,
    items_per_second=100.0,
)


def sync(state: SyncState, progress: Progress = PROGRESS) -> Sync:
    return Sync(
        sync_id=UUID(int=3),
        shop=SHOP,
        state=state,
        mode=SyncMode.FULL,
        trigger=SyncTrigger.REQUEST,
        revision=7,
        progress=progress,
        created_at=NOW,
        updated_at=NOW,
    )


def test_a_succeeded_sync_shows_what_it_counted_in_place_of_the_estimates() -> None:
    converted = convert.sync(sync(SyncState.SUCCEEDED)).progress
    assert converted.estimated_item_count == converted.items.seen_count == 3996
    assert converted.estimated_product_count == converted.products.seen_count == 2996
    assert not converted.HasField("estimated_end_time")


def test_a_succeeded_sync_without_estimates_shows_none() -> None:
    unknown = replace(PROGRESS, estimated_item_count=None, estimated_product_count=None)
    converted = convert.sync(sync(SyncState.SUCCEEDED, unknown)).progress
    assert not converted.HasField("estimated_item_count")
    assert not converted.HasField("estimated_product_count")


@pytest.mark.parametrize("state", [SyncState.FAILED, SyncState.CANCELLED])
def test_a_sync_that_did_not_succeed_keeps_the_estimates_and_shows_no_end_time(state: SyncState) -> None:
    converted = convert.sync(sync(state)).progress
    assert (converted.estimated_product_count, converted.estimated_item_count) == (3000, 4054)
    assert not converted.HasField("estimated_end_time")


def test_a_running_sync_shows_estimates_and_when_it_will_end() -> None:
    converted = convert.sync(sync(SyncState.RUNNING)).progress
    assert converted.estimated_item_count == 4054
    assert converted.HasField("estimated_end_time")


def test_an_incremental_sync_shows_since_when_it_reads_changes() -> None:
    since = NOW - timedelta(minutes=15)
    converted = convert.sync(replace(sync(SyncState.SUCCEEDED), mode=SyncMode.INCREMENTAL, updated_after=since))
    assert converted.changes_since_time.ToDatetime(UTC) == since
    assert not convert.sync(sync(SyncState.SUCCEEDED)).HasField("changes_since_time")


def failed(reason: str) -> Sync:
    error = SyncError(reason=reason, message="connect the shop again")
    return replace(sync(SyncState.FAILED), error=error)


def connection(last: Sync) -> pb.ConnectionHealth:
    status = ShopStatus(
        shop=SHOP,
        counts=CatalogCounts(products=0, items=0, items_with_image=0),
        syncs=LatestSyncs(last_finished=last),
        schedule=StoredSchedule().effective(ScheduleDefaults()),
    )
    return convert.status(status).connection


def test_the_error_of_a_sync_is_that_of_a_call_and_begins_with_its_reason() -> None:
    error = convert.sync(failed("SOURCE_UNAUTHORIZED")).error
    assert error.message == "SOURCE_UNAUTHORIZED: connect the shop again"


def test_the_health_of_a_connection_has_the_reason_apart_from_the_message() -> None:
    health = connection(failed("SOURCE_UNAUTHORIZED"))
    assert health.reason == error_reason_pb2.ERROR_REASON_SOURCE_UNAUTHORIZED
    assert health.message == "connect the shop again"
    assert connection(sync(SyncState.SUCCEEDED)).reason == error_reason_pb2.ERROR_REASON_UNSPECIFIED


ITEM = Item(
    item_id="1",
    product_id="1",
    position=1,
    title="",
    sku="",
    barcode="",
    currency_code="EUR",
    price=None,
    compare_at_price=None,
    stock_quantity=None,
    available=True,
    sellable_without_stock=False,
    options=(),
    image_url="",
    weight=None,
    weight_unit="",
    source_updated_at=None,
    feed_position=7,
    created_at=NOW,
    updated_at=NOW,
    deleted_at=None,
    product_title="Shirt",
    product_status="ACTIVE",
    product_url="",
    vendor="",
    product_type="",
)


@pytest.mark.parametrize("name", product_pb2.ProductStatus.keys())
def test_each_product_status_of_the_contract_is_sent_as_its_enum_value(name: str) -> None:
    stored = name.removeprefix("PRODUCT_STATUS_")
    assert convert_catalog.item(
        ITEM._replace(product_status=stored)
    ).product_status == product_pb2.ProductStatus.Value(name)


@pytest.mark.parametrize("stored", ["", "EMBARGOED"])
def test_a_status_that_this_release_does_not_know_is_sent_as_unspecified(stored: str) -> None:
    assert not convert_catalog.item(ITEM._replace(product_status=stored)).product_status


def test_watchers_of_one_snapshot_share_a_message_unless_some_must_reconnect() -> None:
    messages, shown = convert.SnapshotMessages(), sync(SyncState.RUNNING)
    ordinary = messages.of(Snapshot(shown, heartbeat=True))
    assert messages.of(Snapshot(shown, heartbeat=True)) is ordinary
    assert ordinary.reconnect_reason == pb.WatchSyncResponse.RECONNECT_REASON_UNSPECIFIED
    for reason in ReconnectReason:
        last = messages.of(Snapshot(shown, heartbeat=True, reconnect=reason))
        name = pb.WatchSyncResponse.ReconnectReason.Name(last.reconnect_reason)
        assert name == f"RECONNECT_REASON_{reason.value}"
        assert messages.of(Snapshot(shown, heartbeat=True, reconnect=reason)) is last


def test_the_reason_of_a_failure_that_only_a_newer_release_knows_is_shown_with_the_code_unknown() -> None:
    """A release that is being replaced must still show the syncs that its successor has ended."""
    error = SyncError(reason="SOURCE_ON_STRIKE", message="the platform is on strike")
    shown = convert.sync(replace(sync(SyncState.FAILED), error=error)).error
    assert (shown.code, shown.message) == (2, "SOURCE_ON_STRIKE: the platform is on strike")
