"""Incremental passes find stock and prices that changed without a modification date, and deleted products."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import aclosing
from decimal import Decimal
from pathlib import Path

import pytest

from connector_svc.domain.errors import CheckpointInvalid, SourceResponseInvalid
from connector_svc.domain.fetch import Batch, End, FetchRequest, Offer
from connector_svc.platforms.base import Platform
from devstore.catalog.model import Kind
from devstore.woocommerce.quirks import WooQuirk
from tests.contract.woocommerce.read_pass import SHOP, Pass, read_pass
from tests.integration.connector_svc.woocommerce.woo_store import Store, woo_store

VERSIONS = ["8.2", "10.3"]


async def incremental_request(platform: Platform, max_batch_products: int = 250) -> FetchRequest:
    """Read a full pass, and return the request for the incremental pass that follows it."""
    full = await read_pass(platform)
    return FetchRequest(
        shop=SHOP,
        updated_after=full.headers[0].watermark,
        max_batch_products=max_batch_products,
    )


def resume(request: FetchRequest, checkpoint: bytes) -> FetchRequest:
    return FetchRequest(
        shop=SHOP,
        updated_after=request.updated_after,
        max_batch_products=request.max_batch_products,
        checkpoint=checkpoint,
    )


def listed_ids(batches: Iterable[Batch]) -> list[str]:
    return [key for batch in batches for key in batch.listed_product_ids]


def deleted_ids(batches: Iterable[Batch]) -> list[str]:
    return [key for batch in batches for key in batch.deleted_product_ids]


def stock_by_id(batches: Iterable[Batch]) -> dict[str, int | None]:
    levels = [level for batch in batches for level in batch.stock_levels]
    found = {level.variant_id: level.stock_quantity for level in levels}
    assert len(found) == len(levels)
    return found


def wrongly_missing(store: Store, seen: Pass) -> set[str]:
    """Return the existing products that the catalog would treat as deleted."""
    assert seen.end.all_listed
    return store.live_ids() - set(listed_ids(seen.batches)) - {product.id for product in seen.products}


@pytest.mark.parametrize("version", VERSIONS)
async def test_stock_that_changed_without_a_modification_date_is_reported(tmp_path: Path, version: str) -> None:
    async with woo_store(tmp_path, products=160, version=version) as (store, platform):
        request = await incremental_request(platform)
        simple = next(p for p in store.catalog.products() if p.kind is Kind.SIMPLE and p.stock)
        parent = store.catalog.edge_case("parent-stock")
        plain = store.catalog.edge_case("variations-130").variants[77]
        store.catalog.update_product(simple.id, touch=False, stock=4711)
        store.catalog.update_product(parent.id, touch=False, stock=4712)
        store.catalog.update_variant(plain.id, touch=False, stock=4713)
        seen = await read_pass(platform, request)
        assert seen.products == []
        assert stock_by_id(seen.batches) == store.stock()
        found = stock_by_id(seen.batches)
    assert [found[str(key)] for key in (simple.id, parent.variants[0].id, plain.id)] == [4711, 4712, 4713]


@pytest.mark.parametrize("version", VERSIONS)
async def test_prices_that_changed_without_a_modification_date_are_reported(tmp_path: Path, version: str) -> None:
    async with woo_store(tmp_path, products=160, version=version) as (store, platform):
        request = await incremental_request(platform)
        simple = next(p for p in store.catalog.products() if p.kind is Kind.SIMPLE and p.stock)
        plain = store.catalog.edge_case("variations-130").variants[77]
        store.catalog.update_product(simple.id, touch=False, price="7.77", compare_at="9.99", sku="NEW-1")
        store.catalog.update_variant(plain.id, touch=False, price="8.88")
        seen = await read_pass(platform, request)
    offers = {level.variant_id: level.offer for batch in seen.batches for level in batch.stock_levels}
    assert offers[str(simple.id)] == Offer(sku="NEW-1", price=Decimal("7.77"), compare_at_price=Decimal("9.99"))
    changed = offers[str(plain.id)]
    assert changed is not None
    assert changed.price == Decimal("8.88")


@pytest.mark.parametrize("bulk", [True, False])
async def test_the_header_notes_what_an_incremental_pass_does_not_find(tmp_path: Path, bulk: bool) -> None:
    quirks = frozenset() if bulk else frozenset({WooQuirk.NO_BULK_VARIATIONS})
    async with woo_store(tmp_path, products=60, woo_quirks=quirks) as (_, platform):
        full = await read_pass(platform)
        seen = await read_pass(platform, await incremental_request(platform))
    notes = " ".join(seen.headers[0].notes)
    assert full.headers[0].notes == ()
    assert "Titles" in notes
    assert ("Prices and stock of variations" in notes) is not bulk


@pytest.mark.parametrize("version", VERSIONS)
async def test_stock_levels_equal_the_values_of_whole_products(tmp_path: Path, version: str) -> None:
    async with woo_store(tmp_path, products=160, version=version) as (store, platform):
        disabled = store.catalog.edge_case("disabled-variation").variants[0]
        store.catalog.update_variant(disabled.id, price="9.00", stock=5)
        full = await read_pass(platform)
        seen = await read_pass(platform, await incremental_request(platform))
    expected = {
        (product.id, variant.id): (
            variant.stock_quantity,
            variant.available,
            Offer(sku=variant.sku, price=variant.price, compare_at_price=variant.compare_at_price),
        )
        for product in full.products
        for variant in product.variants
    }
    scanned = {
        (level.product_id, level.variant_id): (level.stock_quantity, level.available, level.offer)
        for batch in seen.batches
        for level in batch.stock_levels
    }
    assert scanned == expected


async def test_an_incremental_pass_lists_every_product_once(tmp_path: Path) -> None:
    async with woo_store(tmp_path, products=320) as (store, platform):
        seen = await read_pass(platform, await incremental_request(platform))
        ids = listed_ids(seen.batches)
        assert set(ids) == store.live_ids()
        assert len(ids) == len(set(ids))
    assert seen.end.all_listed
    assert seen.end.warnings == ()
    assert (seen.end.source_count, seen.end.emitted_count) == (0, 0)


async def test_a_full_pass_has_no_stock_scan(tmp_path: Path) -> None:
    async with woo_store(tmp_path, products=40) as (_, platform):
        seen = await read_pass(platform)
    assert not seen.end.all_listed
    assert (listed_ids(seen.batches), deleted_ids(seen.batches), stock_by_id(seen.batches)) == ([], [], {})


async def test_trashed_products_are_reported_and_deleted_ones_are_not_listed(tmp_path: Path) -> None:
    async with woo_store(tmp_path, products=120, edge_cases=False) as (store, platform):
        request = await incremental_request(platform)
        trashed, forced, *_ = (product.id for product in list(store.catalog.products())[10:])
        store.catalog.trash_product(trashed)
        store.catalog.delete_product(forced)
        seen = await read_pass(platform, request)
        assert deleted_ids(seen.batches) == [str(trashed)]
        assert not {str(trashed), str(forced)} & set(listed_ids(seen.batches))
        assert wrongly_missing(store, seen) == set()


async def test_a_product_with_a_deleted_variation_is_delivered_without_it(tmp_path: Path) -> None:
    async with woo_store(tmp_path, products=40) as (store, platform):
        request = await incremental_request(platform)
        parent = store.catalog.edge_case("variations-130")
        store.catalog.delete_variant(parent.variants[5].id)
        seen = await read_pass(platform, request)
    (product,) = seen.products
    assert (product.id, len(product.variants), product.variants_complete) == (str(parent.id), 129, True)


async def test_without_a_bulk_route_only_products_are_scanned_and_the_header_says_so(tmp_path: Path) -> None:
    quirks = frozenset({WooQuirk.NO_BULK_VARIATIONS})
    async with woo_store(tmp_path, products=120, woo_quirks=quirks) as (store, platform):
        request = await incremental_request(platform)
        store.running.requests(SHOP.domain).reset()
        seen = await read_pass(platform, request)
        calls = store.running.requests(SHOP.domain)
        assert calls.by_operation["product_variations"] == 0
        assert wrongly_missing(store, seen) == set()
        simple = {str(p.id) for p in store.catalog.products() if p.kind is not Kind.VARIABLE}
        assert stock_by_id(seen.batches).keys() == simple & store.live_ids()
    assert "not of variations" in seen.headers[0].strategy_reason


async def test_the_stock_scan_requests_no_field_that_costs_the_store_queries(tmp_path: Path) -> None:
    async with woo_store(tmp_path, products=120) as (store, platform):
        request = await incremental_request(platform)
        requests = store.running.requests(SHOP.domain)
        requests.reset()
        await read_pass(platform, request)
        await read_pass(platform)
    requested_fields = [
        set(note.query.get("_fields", "related_ids").split(","))
        for note in requests.recent
        if note.method == "GET"
    ]
    assert len(requested_fields) > 10
    assert not any(fields & {"related_ids", "meta_data", "price_html", "on_sale"} for fields in requested_fields)
    scan_fields = [
        fields
        for fields in requested_fields
        if {"stock_quantity", "stock_status"} <= fields and "date_modified_gmt" not in fields
    ]
    assert len(scan_fields) >= 4
    assert not any(fields & {"images", "description"} for fields in scan_fields)


@pytest.mark.parametrize("version", VERSIONS)
async def test_stale_and_orphaned_variations_have_no_stock_level(tmp_path: Path, version: str) -> None:
    quirks = frozenset({WooQuirk.STALE_VARIATIONS})
    async with woo_store(tmp_path, products=120, version=version, woo_quirks=quirks) as (store, platform):
        parent = store.catalog.edge_case("inherited-sku")
        store.catalog.update_product(parent.id, kind=Kind.SIMPLE, price="5.00", stock=3)
        full = await read_pass(platform)
        assert full.items().keys() == store.stock().keys()
        seen = await read_pass(platform, await incremental_request(platform))
        assert stock_by_id(seen.batches) == store.stock()


@pytest.mark.parametrize("version", VERSIONS)
async def test_every_checkpoint_of_an_incremental_pass_resumes_to_the_same_end(
    tmp_path: Path, version: str
) -> None:
    async with woo_store(tmp_path, products=130, version=version) as (store, platform):
        request = await incremental_request(platform, max_batch_products=20)
        for product in list(store.catalog.products())[5:50]:
            store.catalog.update_product(product.id, title="Changed")
        for product in list(store.catalog.products())[60:64]:
            store.catalog.trash_product(product.id)
        whole = await read_pass(platform, request)
        assert {bool(b.deleted_product_ids) for b in whole.batches} == {True, False}
        assert len(whole.batches) >= 9
        for number, batch in enumerate(whole.batches, 1):
            rest = await read_pass(platform, resume(request, batch.checkpoint))
            before = whole.batches[:number]
            both = [*before, *rest.batches]
            assert [p for b in both for p in b.products] == whole.products
            assert deleted_ids(both) == deleted_ids(whole.batches)
            assert listed_ids(both) == listed_ids(whole.batches)
            assert stock_by_id(both) == stock_by_id(whole.batches)
            assert rest.end == whole.end
            assert rest.headers[0].resumed


@pytest.mark.parametrize("version", VERSIONS)
async def test_trashing_many_products_during_the_stock_scan_loses_no_other_product(
    tmp_path: Path, version: str
) -> None:
    async with woo_store(tmp_path, products=700, edge_cases=False, version=version) as (store, platform):
        request = await incremental_request(platform, max_batch_products=30)
        doomed = [product.id for product in store.catalog.products()][:400]
        seen = Pass()
        async for event in platform.fetch(request, on_wait=seen.waits.append):
            if isinstance(event, Batch):
                seen.batches.append(event)
                for _ in range(12):
                    if doomed and (current := store.catalog.product(doomed.pop(0))) and current.status != "trash":
                        store.catalog.trash_product(current.id)
            elif isinstance(event, End):
                seen.ends.append(event)
        ids = listed_ids(seen.batches)
        assert len(ids) == len(set(ids))
        assert wrongly_missing(store, seen) == set()
        # The stock of those that stayed is reported, too.
        left = store.stock()
        assert {k: v for k, v in stock_by_id(seen.batches).items() if k in left} == left


async def test_a_product_restored_behind_the_cursor_means_that_not_all_are_listed(tmp_path: Path) -> None:
    async with woo_store(tmp_path, products=300, edge_cases=False) as (store, platform):
        first = next(iter(store.catalog.products()))
        store.catalog.trash_product(first.id)
        request = await incremental_request(platform, max_batch_products=30)
        seen = Pass()
        async for event in platform.fetch(request, on_wait=seen.waits.append):
            if isinstance(event, Batch) and event.listed_product_ids and not listed_ids(seen.batches):
                store.catalog.update_product(first.id, status="publish")
            if isinstance(event, Batch):
                seen.batches.append(event)
            elif isinstance(event, End):
                seen.ends.append(event)
    assert str(first.id) not in listed_ids(seen.batches)
    assert not seen.end.all_listed
    assert any("deleted for good" in note for note in seen.end.notes)


async def test_a_product_created_during_the_stock_scan_is_listed(tmp_path: Path) -> None:
    async with woo_store(tmp_path, products=150, edge_cases=False) as (store, platform):
        request = await incremental_request(platform, max_batch_products=30)
        seen, added = Pass(), 0
        async for event in platform.fetch(request, on_wait=seen.waits.append):
            if isinstance(event, Batch):
                seen.batches.append(event)
                added = added or store.catalog.add_product().id
            elif isinstance(event, End):
                seen.ends.append(event)
    assert str(added) in listed_ids(seen.batches)
    assert seen.end.all_listed


async def test_a_stock_scan_with_truncated_responses_fails(tmp_path: Path) -> None:
    async with woo_store(tmp_path, products=150, edge_cases=False) as (store, platform):
        request = await incremental_request(platform, max_batch_products=30)
        first = await first_batch(platform, request)
        store.running.fail_next(SHOP.domain, 9, status=200, body='[{"id": 4096, "images": [{"id": 2}]')
        with pytest.raises(SourceResponseInvalid, match="truncated"):
            await read_pass(platform, resume(request, first.checkpoint))
        store.running.clear_faults(SHOP.domain)
        assert wrongly_missing(store, await read_pass(platform, resume(request, b""))) == set()


async def first_batch(platform: Platform, request: FetchRequest) -> Batch:
    """Return the first batch of a pass, and close the pass."""
    async with aclosing(platform.fetch(request, on_wait=lambda _: None)) as events:
        async for event in events:
            if isinstance(event, Batch):
                return event
    raise AssertionError("the pass had no batch")


async def test_a_checkpoint_of_a_stock_scan_without_the_end_of_the_products_is_rejected(tmp_path: Path) -> None:
    async with woo_store(tmp_path, products=40) as (_, platform):
        request = await incremental_request(platform)
        seen = await read_pass(platform, request)
        good = seen.batches[-1].checkpoint
        assert b'"closing":{' in good
        bad = (
            good[: good.index(b'"closing":{')]
            + b'"closing":null'
            + good[good.index(b"}", good.index(b"closing")) + 1 :]
        )
        with pytest.raises(CheckpointInvalid):
            await read_pass(platform, resume(request, bad))
