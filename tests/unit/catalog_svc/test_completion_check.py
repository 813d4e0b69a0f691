"""A pass that stored fewer products than were announced does not succeed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from catalog_svc.domain.errors import SourceCountMismatch
from catalog_svc.domain.shop import Shop, ShopKey
from catalog_svc.domain.source import SourceEnd
from catalog_svc.domain.sync import Progress, RecordCounts, Sync, SyncMode, SyncState, SyncTrigger
from catalog_svc.usecases.reconciliation import check_complete

NOW = datetime(2026, 11, 20, tzinfo=UTC)
SYNC = Sync(
    sync_id=UUID(int=1),
    shop=Shop(merchant_id="m-2", shop_id=UUID(int=3), key=ShopKey("shopify", "a.myshopify.com")),
    state=SyncState.RUNNING,
    mode=SyncMode.FULL,
    trigger=SyncTrigger.REQUEST,
    revision=1,
    progress=Progress(),
    created_at=NOW,
    updated_at=NOW,
)


def stored(seen: int, rejected: int = 0) -> Sync:
    return replace(SYNC, progress=Progress(products=RecordCounts(seen=seen, rejected=rejected)))


def end(source: int, emitted: int, rejected: int = 0) -> SourceEnd:
    return SourceEnd(source_count=source, emitted_count=emitted, rejected_count=rejected)


@pytest.mark.parametrize(
    ("sync", "source_end"),
    [
        (stored(0), end(0, 0)),
        (stored(10), end(10, 10)),
        (stored(9, rejected=1), end(10, 9, 1)),
        (stored(9, rejected=1), end(10, 10)),
        (stored(10), end(8, 10)),
        (stored(11), end(10, 10)),
    ],
)
def test_a_pass_with_all_products_or_more_is_complete(sync: Sync, source_end: SourceEnd) -> None:
    check_complete(sync, source_end)


@pytest.mark.parametrize(
    ("sync", "source_end"),
    [
        (stored(9), end(9, 10)),
        (stored(9), end(10, 9)),
        (stored(9, rejected=1), end(11, 9, 1)),
    ],
)
def test_missing_products_are_a_mismatch_with_both_numbers(sync: Sync, source_end: SourceEnd) -> None:
    with pytest.raises(SourceCountMismatch) as caught:
        check_complete(sync, source_end)
    assert int(caught.value.metadata["expected"]) > int(caught.value.metadata["received"])
