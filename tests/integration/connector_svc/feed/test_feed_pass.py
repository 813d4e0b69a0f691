"""Passes over feeds with publisher errors and unusual but valid files."""

from __future__ import annotations

from datetime import timedelta

import pytest
from aiohttp import ClientSession, web
from catalogsync_common.drain import Drain, ServerDraining

from connector_svc.domain.errors import (
    CheckpointExpired,
    CredentialsNotFound,
    SourceFailure,
    SourceUnauthorized,
)
from connector_svc.domain.fetch import FetchRequest
from connector_svc.domain.records import IssueReason
from connector_svc.platforms.feed.client import MANIFEST_PATH
from connector_svc.platforms.feed.errors import FeedCountMismatch, FeedInvalid, FeedNotTrusted, FeedStale
from connector_svc.rpc.fetch_stream import FetchStream, StreamTiming
from connector_svc.rpc.requests import StreamRequest
from devstore.feed.quirks import FORMATS, FeedQuirk
from tests.contract.platforms.passes import Pass
from tests.integration.connector_svc.feed.feed_shop import SHOP, FeedShop, feed_shop

EXPECTED_ERRORS: dict[FeedQuirk, type[SourceFailure]] = {
    FeedQuirk.WRONG_HASH: FeedInvalid,
    FeedQuirk.WRONG_COUNT: FeedCountMismatch,
    FeedQuirk.WRONG_ROWS: FeedCountMismatch,
    FeedQuirk.STALE: FeedStale,
    FeedQuirk.FUTURE: FeedStale,
    FeedQuirk.WRONG_SIGNATURE: FeedNotTrusted,
    FeedQuirk.TRUNCATED_GZIP: FeedInvalid,
}
HARMLESS = (
    FeedQuirk.BOM,
    FeedQuirk.CRLF,
    FeedQuirk.QUOTED_NEWLINES,
    FeedQuirk.NO_RANGES,
    FeedQuirk.TWO_SIGNATURES,
    FeedQuirk.FIXED_NAMES,
)


@pytest.mark.parametrize("fmt", ["ndjson.gz", "csv.gz"])
@pytest.mark.parametrize("quirk", EXPECTED_ERRORS)
async def test_nothing_is_delivered_from_an_unverified_feed(quirk: FeedQuirk, fmt: str) -> None:
    async with feed_shop(30, fmt, quirk) as shop:
        found = Pass()
        with pytest.raises(EXPECTED_ERRORS[quirk]) as caught:
            await shop.fetch_into(found)
        assert found.events == []
        assert str(SHOP) in caught.value.message
        assert not [secret for secret in shop.credentials.values.values() if secret in caught.value.message]
        shop.quirks.clear()
        assert set((await shop.fetch()).by_id) == {str(product.id) for product in shop.catalog.products()}


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("quirk", HARMLESS)
async def test_harmless_quirks_do_not_change_products(quirk: FeedQuirk, fmt: str) -> None:
    async with feed_shop(30, fmt) as shop:
        expected = (await shop.fetch()).by_id
        shop.quirks.add(quirk)
        found = await shop.fetch()
        assert found.by_id.keys() == expected.keys()
        assert not found.issues
        for product_id, product in found.by_id.items():
            assert product.variants == expected[product_id].variants
            assert product.title == expected[product_id].title
        if quirk is FeedQuirk.QUOTED_NEWLINES:
            texts = {product.description_html for product in found.by_id.values()}
            assert {text.replace("\r\n", "\n") for text in texts} == {'One\n"two", three\n\nfour'}


async def test_csv_and_ndjson_of_one_catalog_are_read_as_equal_products() -> None:
    found = []
    for fmt in ("ndjson", "csv"):
        async with feed_shop(40, fmt) as shop:
            found.append((await shop.fetch()).by_id)
    for product_id, product in found[0].items():
        other = found[1][product_id]
        assert (product.variants_complete, len(product.variants)) == (True, len(other.variants))
        for one, two in zip(product.variants, other.variants, strict=True):
            names = ("id", "title", "sku", "barcode", "price", "stock_quantity", "options", "weight", "available")
            assert [str(getattr(one, name)) for name in names] == [str(getattr(two, name)) for name in names]


@pytest.mark.parametrize("fmt", ["ndjson", "csv"])
async def test_a_title_of_70_000_characters_rejects_only_its_product(fmt: str) -> None:
    async with feed_shop(30, fmt, FeedQuirk.LONG_TITLE) as shop:
        found = await shop.fetch()
        [issue] = found.issues
        assert (issue.reason, issue.product_id, issue.field) == (IssueReason.TOO_LARGE, "long-title", "title")
        assert len(found.by_id) == len(shop.catalog)
        assert (found.end.source_count, found.end.rejected_count) == (31, 1)


@pytest.mark.parametrize("fmt", ["ndjson", "csv"])
async def test_the_first_record_of_a_duplicate_id_is_kept_and_no_variant_is_deleted(fmt: str) -> None:
    async with feed_shop(30, fmt, FeedQuirk.DUPLICATE_IDS) as shop:
        found = await shop.fetch(max_batch_products=7)
        [issue] = found.issues
        assert issue.reason is IssueReason.DUPLICATE_ID
        assert [p.variants_complete for p in found.by_id.values()].count(False) == 1
        assert not found.by_id[issue.product_id].variants_complete
        assert (found.end.source_count, found.end.emitted_count, found.end.rejected_count) == (30, 30, 0)
        for batch in found.batches:
            rest = await shop.fetch(checkpoint=batch.checkpoint, max_batch_products=7)
            assert rest.end == found.end
            later = found.batches[found.batches.index(batch) + 1 :]
            assert rest.issues == [issue for one in later for issue in one.issues]


async def test_a_resume_reads_its_first_file_even_after_a_newer_one_was_published() -> None:
    async with feed_shop() as shop:
        first = await shop.fetch(max_batch_products=10, batches=1)
        shop.catalog.add_product(title="New")
        rest = await shop.fetch(max_batch_products=10, checkpoint=first.batches[0].checkpoint)
        assert len(first.by_id) + len(rest.by_id) == 30
        assert rest.header.watermark == first.header.watermark


async def test_an_overwritten_file_expires_the_checkpoint() -> None:
    async with feed_shop(30, "ndjson", FeedQuirk.FIXED_NAMES) as shop:
        first = await shop.fetch(max_batch_products=10, batches=1)
        shop.catalog.add_product(title="New")
        with pytest.raises(CheckpointExpired):
            await shop.fetch(max_batch_products=10, checkpoint=first.batches[0].checkpoint)
        assert len((await shop.fetch()).by_id) == 31


async def test_a_file_replaced_between_manifest_and_download_is_read_in_its_new_version() -> None:
    async with feed_shop(30, "ndjson", FeedQuirk.FIXED_NAMES) as shop:
        changes = iter([True])

        async def change(request: web.Request) -> None:
            if "/feeds/" in request.path and next(changes, False):
                shop.catalog.add_product(title="New")

        shop.store.add_fault(SHOP.domain, change)
        assert len((await shop.fetch()).by_id) == 31


async def test_a_delta_delivers_only_changes_and_tombstones() -> None:
    async with feed_shop() as shop:
        first = await shop.fetch()
        ids = sorted(first.by_id)
        shop.catalog.update_product(int(ids[3]), title="Changed")
        shop.catalog.delete_product(int(ids[4]))
        found = await shop.fetch(after=first.header.watermark)
        assert first.end.absence_proven
        assert found.header.strategy == "delta file"
        assert not found.end.absence_proven
        assert list(found.by_id) == [ids[3]]
        assert [one for batch in found.batches for one in batch.deleted_product_ids] == [ids[4]]
        assert not found.end.all_listed


async def test_without_a_delta_the_full_file_lists_all_products_so_that_deletions_can_be_detected() -> None:
    async with feed_shop(30, "ndjson", FeedQuirk.NO_DELTAS) as shop:
        first = await shop.fetch()
        deleted = min(first.by_id)
        shop.catalog.delete_product(int(deleted))
        found = await shop.fetch(after=first.header.watermark, max_batch_products=7)
        listed = {product_id for batch in found.batches for product_id in batch.listed_product_ids}
        assert listed == first.by_id.keys() - {deleted}
        assert found.end.all_listed
        assert found.end.absence_proven


async def test_a_feed_older_than_the_last_watermark_is_refused() -> None:
    async with feed_shop() as shop:
        await shop.fetch()
        with pytest.raises(FeedStale):
            await shop.fetch(after=shop.now())


async def test_a_resume_is_refused_when_an_older_manifest_is_restored() -> None:
    async with feed_shop() as shop:
        async with ClientSession() as session:
            address = f"{shop.store.base_url(SHOP.domain)}{MANIFEST_PATH}"
            headers = {"Authorization": f"Bearer {shop.credentials.values['feed_token']}"}
            async with session.get(address, headers=headers) as reply:
                older = await reply.text()
        shop.catalog.add_product(title="New")
        first = await shop.fetch(max_batch_products=10, batches=1)

        async def restore_older(request: web.Request) -> web.Response | None:
            return web.Response(text=older) if request.path.endswith(MANIFEST_PATH) else None

        shop.store.add_fault(SHOP.domain, restore_older)
        with pytest.raises(FeedStale, match="older than the one that the pass began with"):
            await shop.fetch(max_batch_products=10, checkpoint=first.batches[0].checkpoint)


async def test_a_changed_secret_is_fetched_again() -> None:
    async with feed_shop() as shop:
        valid = dict(shop.credentials.values)
        shop.credentials.values = {**valid, "feed_secret": "x" * 40}
        with pytest.raises(FeedNotTrusted):
            await shop.fetch()
        shop.credentials.newer = valid
        assert len((await shop.fetch()).by_id) == 30


async def test_the_previous_secret_is_accepted() -> None:
    async with feed_shop() as shop:
        valid = shop.credentials.values["feed_secret"]
        shop.credentials.values |= {"feed_secret": "x" * 40, "feed_secret_previous": valid}
        assert (await shop.platform.check(SHOP)).product_count == 30


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"feed_token": "wrong"}, SourceUnauthorized),
        ({"feed_secret": "short"}, CredentialsNotFound),
        ({"feed_path": "https://elsewhere.example/"}, CredentialsNotFound),
        ({"feed_path": "/a/../../b"}, CredentialsNotFound),
    ],
)
async def test_invalid_credentials_are_refused(change: dict[str, str], expected: type[SourceFailure]) -> None:
    async with feed_shop() as shop:
        shop.credentials.values |= change
        with pytest.raises(expected):
            await shop.platform.check(SHOP)


async def test_a_file_is_downloaded_once_although_its_stream_exceeds_the_maximum_age() -> None:
    async with feed_shop(60, "ndjson") as shop:
        fetch = FetchRequest(shop=SHOP, max_batch_products=5)
        stream = FetchStream(
            StreamRequest(platform=shop.platform, fetch=fetch),
            drain=Drain(),
            redact=str,
            timing=StreamTiming(max_age=timedelta(0)),
        )
        products = [len(message.batch.products) async for message in stream.messages()]
        assert sum(products) == 60
        assert await range_replies(shop) == 1


async def test_a_drain_ends_a_stream_that_reads_a_file() -> None:
    async with feed_shop(60, "ndjson") as shop:
        fetch, drain = FetchRequest(shop=SHOP, max_batch_products=5), Drain()
        stream = FetchStream(
            StreamRequest(platform=shop.platform, fetch=fetch), drain=drain, redact=str, timing=StreamTiming()
        )

        async def read() -> None:
            async for message in stream.messages():
                if message.HasField("batch"):
                    drain.start()

        with pytest.raises(ServerDraining):
            await read()


async def test_ranges_of_a_file_are_joined_and_verified_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connector_svc.platforms.feed.client.RANGE_BYTES", 10_000)
    async with feed_shop() as shop:
        assert len((await shop.fetch()).by_id) == 30
        assert await range_replies(shop) > 3


async def range_replies(shop: FeedShop) -> int:
    return shop.store.requests(SHOP.domain).by_status[206]
