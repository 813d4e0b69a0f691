"""Products that are asked for by id: each comes, is rejected by name, is gone, or stays undecided."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from msgspec import json

from connector_svc.domain.fetch import Batch, FetchRequest
from connector_svc.domain.records import IssueReason
from connector_svc.platforms.feed.batches import BatchBuilder
from connector_svc.platforms.feed.position import Position
from connector_svc.platforms.feed.record import Record
from connector_svc.platforms.feed.scan import scanned
from connector_svc.platforms.feed.wire import FeedFile
from devstore.feed.quirk import FORMATS, FeedQuirk
from tests.contract.platforms.passes import Pass
from tests.integration.connector_svc.feed.feed_shop import SHOP, feed_shop


def gone(found: Pass) -> list[str]:
    return [product_id for batch in found.batches for product_id in batch.deleted_product_ids]


@pytest.mark.parametrize("fmt", FORMATS)
async def test_products_are_read_by_id_and_those_that_the_signed_catalog_lacks_are_gone(fmt: str) -> None:
    async with feed_shop(30, fmt) as shop:
        whole = await shop.fetch()
        ids = whole.ids[3:8]
        shop.catalog.delete_product(int(ids[2]))
        found = await shop.fetch_ids(*ids, "never-there", batch=2)
        expected = {product_id for product_id in ids if product_id != ids[2]}
        assert set(found.ids) == expected
        assert all(found.by_id[one].variants == whole.by_id[one].variants for one in expected)
        assert gone(found) == [ids[2], "never-there"]
        assert max(len(batch.products) for batch in found.batches) == 2
        assert [found.end.source_count, found.end.emitted_count, found.end.rejected_count] == [4, 4, 0]
        assert not found.end.all_listed
        assert [batch.listed_product_ids for batch in found.batches if batch.listed_product_ids] == []


async def test_the_full_file_is_read_though_a_delta_is_published() -> None:
    async with feed_shop() as shop:
        first = await shop.fetch()
        shop.catalog.update_product(int(first.ids[0]), title="Changed")
        found = await shop.fetch_ids(first.ids[0], first.ids[1])
        assert found.header.strategy == "full file"
        assert set(found.ids) == {first.ids[0], first.ids[1]}
        assert gone(found) == []


async def test_a_product_that_is_rejected_is_named_and_not_gone() -> None:
    async with feed_shop(30, "ndjson", FeedQuirk.LONG_TITLE) as shop:
        found = await shop.fetch_ids("long-title")
        assert [(issue.product_id, issue.product_rejected) for issue in found.issues] == [("long-title", True)]
        assert (found.ids, gone(found)) == ([], [])


async def test_of_an_id_that_comes_twice_the_first_record_is_read() -> None:
    async with feed_shop(30, "ndjson", FeedQuirk.DUPLICATE_IDS) as shop:
        whole = await shop.fetch()
        [repeated] = [issue.product_id for issue in whole.issues]
        found = await shop.fetch_ids(repeated)
        assert found.by_id[repeated] == whole.by_id[repeated]
        assert [issue.reason for issue in found.issues] == [IssueReason.DUPLICATE_ID]
        assert gone(found) == []


def line(**fields: object) -> bytes:
    return json.encode({"title": "T", "variants": [], **fields})


async def read(*texts: bytes, ids: tuple[str, ...]) -> list[Batch]:
    """The batches of a full file of these lines."""
    records = [Record(line=number, text=text) for number, text in enumerate(texts, 1)]
    file = FeedFile(path="/f", format="ndjson", bytes=1, sha256="0" * 64, row_count=1, product_count=1)
    position = Position(file=file, delta=False, generated_at=datetime(2026, 11, 20, tzinfo=UTC), currency="EUR")
    request = FetchRequest(shop=SHOP, product_ids=ids)
    builder = BatchBuilder(request, iter(records), await scanned(records), position)
    return list(iter(builder.next, None))


async def test_while_a_record_has_no_id_it_may_be_any_product_so_that_none_is_taken_for_gone() -> None:
    [batch] = await read(line(id="1"), line(), ids=("1", "2"))
    assert [product.id for product in batch.products] == ["1"]
    assert batch.deleted_product_ids == ()


async def test_a_tombstone_in_the_full_file_is_a_deletion_told_once() -> None:
    [batch] = await read(line(id="1"), line(id="2", deleted=True), ids=("2",))
    assert (batch.products, batch.deleted_product_ids) == ((), ("2",))


async def test_a_variant_that_an_earlier_product_owns_is_not_given_to_the_one_that_is_asked_for() -> None:
    """It is left to the first in a full pass, too."""
    variants = [{"id": "v"}]
    [batch] = await read(line(id="1", variants=variants), line(id="2", variants=variants), ids=("2",))
    [product] = batch.products
    assert (product.variants, product.variants_complete) == ((), False)
    assert [issue.reason for issue in batch.issues] == [IssueReason.DUPLICATE_ID]
