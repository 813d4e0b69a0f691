"""Conversion of a sync for clients: an ended sync shows no outdated estimates."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from catalog_svc.domain.shop import Shop, ShopKey
from catalog_svc.domain.sync import Progress, RecordCounts, Sync, SyncMode, SyncState, SyncTrigger
from catalog_svc.rpc import convert

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
SHOP = Shop(merchant_id="m-1", shop_id=UUID(int=2), key=ShopKey("woocommerce", "store.example"))
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
