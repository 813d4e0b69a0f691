"""Products requested by id: each is read, rejected, deleted, or stays undecided."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from msgspec import json

from connector_svc.domain.fetch import Batch, FetchRequest
from connector_svc.domain.records import IssueReason
from connector_svc.platforms.feed.batch_builder import BatchBuilder, Position
from connector_svc.platforms.feed.file_reader import Record
from connector_svc.platforms.feed.id_scan import scan_records
from connector_svc.platforms.feed.wire import FeedFile
from devstore.feed.quirks import FORMATS, FeedQuirk
from tests.contract.platforms.passes import Pass
from tests.integration.connector_svc.feed.feed_shop import SHOP, feed_shop


def deleted_ids(found: Pass) -> list[str]:
    return [product_id for batch in found.batches for product_id in batch.deleted_product_ids]


@pytest.mark.parametrize("fmt", FORMATS)
async def test_products_are_read_by_id_and_those_missing_from_the_full_file_are_deleted(fmt: str) -> None:
    async with feed_shop(30, fmt) as shop:
        full = await shop.fetch()
        ids = full.ids[3:8]
        shop.catalog.delete_product(int(ids[2]))
        found = await shop.fetch_ids(*ids, "never-there", max_batch_products=2)
        expected = {product_id for product_id in ids if product_id != ids[2]}
        assert set(found.ids) == expected
        assert all(found.by_id[one].variants == full.by_id[one].variants for one in expected)
        assert deleted_ids(found) == [ids[2], "never-there"]
        assert max(len(batch.products) for batch in found.batches) == 2
        assert [found.end.source_count, found.end.emitted_count, found.end.rejected_count] == [4, 4, 0]
        assert not found.end.all_listed
        assert [batch.listed_product_ids for batch in found.batches if batch.listed_product_ids] == []


async def test_products_by_id_are_read_from_the_full_file_even_if_there_is_a_delta() -> None:
    async with feed_shop() as shop:
        first = await shop.fetch()
        shop.catalog.update_product(int(first.ids[0]), title="Changed")
        found = await shop.fetch_ids(first.ids[0], first.ids[1])
        assert found.header.strategy == "full file"
        assert set(found.ids) == {first.ids[0], first.ids[1]}
        assert deleted_ids(found) == []


async def test_a_rejected_product_is_reported_and_not_deleted() -> None:
    async with feed_shop(30, "ndjson", FeedQuirk.LONG_TITLE) as shop:
        found = await shop.fetch_ids("long-title")
        assert [(issue.product_id, issue.product_rejected) for issue in found.issues] == [("long-title", True)]
        assert (found.ids, deleted_ids(found)) == ([], [])


async def test_the_first_record_of_a_duplicate_id_is_read() -> None:
    async with feed_shop(30, "ndjson", FeedQuirk.DUPLICATE_IDS) as shop:
        full = await shop.fetch()
        [duplicate] = [issue.product_id for issue in full.issues]
        found = await shop.fetch_ids(duplicate)
        assert found.by_id[duplicate] == full.by_id[duplicate]
        assert [issue.reason for issue in found.issues] == [IssueReason.DUPLICATE_ID]
        assert deleted_ids(found) == []


def line(**fields: object) -> bytes:
    return json.encode({"title": "T", "variants": [], **fields})


async def read(*texts: bytes, ids: tuple[str, ...]) -> list[Batch]:
    """Return the batches of a full file with these lines."""
    records = [Record(line=number, text=text) for number, text in enumerate(texts, 1)]
    file = FeedFile(path="/f", format="ndjson", bytes=1, sha256="0" * 64, row_count=1, product_count=1)
    position = Position(file=file, delta=False, generated_at=datetime(2026, 11, 20, tzinfo=UTC), currency="EUR")
    request = FetchRequest(shop=SHOP, product_ids=ids)
    builder = BatchBuilder(request, iter(records), await scan_records(records), position)
    return list(iter(builder.next_batch, None))


async def test_a_record_without_an_id_prevents_deletions() -> None:
    [batch] = await read(line(id="1"), line(), ids=("1", "2"))
    assert [product.id for product in batch.products] == ["1"]
    assert batch.deleted_product_ids == ()


async def test_a_tombstone_in_the_full_file_is_one_deletion() -> None:
    [batch] = await read(line(id="1"), line(id="2", deleted=True), ids=("2",))
    assert (batch.products, batch.deleted_product_ids) == ((), ("2",))


async def test_a_variant_of_an_earlier_product_is_dropped_from_the_requested_one() -> None:
    """As in a full pass, where the first product keeps it."""
    variants = [{"id": "v"}]
    [batch] = await read(line(id="1", variants=variants), line(id="2", variants=variants), ids=("2",))
    [product] = batch.products
    assert (product.variants, product.variants_complete) == ((), False)
    assert [issue.reason for issue in batch.issues] == [IssueReason.DUPLICATE_ID]
