"""The platform reads the devstore completely, with few requests, whatever changes meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from connector_svc.domain.errors import SourceCurrencyChanged, SourceResponseInvalid
from connector_svc.domain.fetch import FetchRequest
from connector_svc.platforms.base import Platform
from devstore.catalog.catalog import Catalog
from devstore.catalog.model import Platform as DevPlatform
from devstore.server import RunningStore, serving
from devstore.spec import ShopSpec, VariantRange
from tests.contract.woocommerce.read_pass import SHOP, FakeCredentials, Pass, credentials, platform_at, read_pass

VERSIONS = ["8.2", "10.3"]


@asynccontextmanager
async def _store(directory: Path, **spec: Any) -> AsyncIterator[tuple[RunningStore, Platform]]:
    shop = ShopSpec(platform=DevPlatform.WOOCOMMERCE, domain=SHOP.domain, key="ck_dev", secret="cs_dev", **spec)
    async with (
        serving([shop], tls_dir=directory) as store,
        platform_at(
            store.base_url(SHOP.domain), FakeCredentials([credentials("ck_dev", "cs_dev")]), ca=store.ca_file
        ) as platform,
    ):
        yield store, platform


def _set_currency(catalog: Catalog, currency: str) -> None:
    catalog.spec = replace(catalog.spec, currency=currency)


def _expected_items(catalog: Catalog) -> dict[str, tuple[str, str, Decimal | None, int | None]]:
    return {item.item_id: (item.product_id, item.sku, item.price, item.stock) for item in catalog.sellable_items()}


def _received_items(seen: Pass) -> dict[str, tuple[str, str, Decimal | None, int | None]]:
    return {
        variant.id: (product.id, variant.sku, variant.price, variant.stock_quantity)
        for product in seen.products
        for variant in product.variants
    }


@pytest.mark.parametrize("version", VERSIONS)
async def test_all_items_are_read_with_their_values(tmp_path: Path, version: str) -> None:
    async with _store(tmp_path, products=600, version=version) as (store, platform):
        seen = await read_pass(platform)
        expected = _expected_items(store.catalog(SHOP.domain))
    assert _received_items(seen) == expected
    assert seen.issues == []
    assert seen.end.emitted_variant_count == len(expected)
    assert max(len(product.variants) for product in seen.products) == 130
    assert all(product.variants_complete for product in seen.products)


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_pass_over_an_empty_store_is_complete(tmp_path: Path, version: str) -> None:
    async with _store(tmp_path, products=0, edge_cases=False, version=version) as (_serving, platform):
        seen = await read_pass(platform)
        info = await platform.check(SHOP)
    assert seen.batches == []
    assert (seen.end.source_count, seen.end.emitted_count, seen.end.emitted_variant_count) == (0, 0, 0)
    assert info.product_count == 0


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_number_of_requests_is_small(tmp_path: Path, version: str) -> None:
    """1,000 variations in ten requests, 200 products in three, and those of the start and end of every pass."""
    shape = VariantRange(least=10, most=10)
    async with _store(tmp_path, products=200, variants=shape, edge_cases=False, version=version) as (
        store,
        platform,
    ):
        seen = await read_pass(platform)
        calls = store.requests(SHOP.domain)
        variants = sum(len(product.variants) for product in seen.products if product.product_type == "variable")
        lists = [note for note in calls.recent if note.path.endswith("variations") and "parent" in note.query]
        assert len(lists) <= -(-variants // 100) + 2
        assert calls.calls - len(lists) <= 12


@pytest.mark.parametrize("version", VERSIONS)
async def test_every_checkpoint_resumes_to_the_whole_catalog(tmp_path: Path, version: str) -> None:
    async with _store(tmp_path, products=120, version=version) as (_serving, platform):
        whole = await read_pass(platform, FetchRequest(shop=SHOP, max_batch_products=20))
        assert len(whole.batches) >= 6
        for number, batch in enumerate(whole.batches, 1):
            rest = await read_pass(
                platform, FetchRequest(shop=SHOP, max_batch_products=20, checkpoint=batch.checkpoint)
            )
            before = [product for earlier in whole.batches[:number] for product in earlier.products]
            assert [*before, *rest.products] == whole.products
            assert rest.end == whole.end


async def test_many_concurrent_writes_lose_no_product_that_stays(tmp_path: Path) -> None:
    async with _store(tmp_path, products=700, edge_cases=False) as (store, platform):
        catalog = store.catalog(SHOP.domain)
        ids = [product.id for product in catalog.products()]
        received: list[str] = []
        request = FetchRequest(shop=SHOP, max_batch_products=30)
        async for event in platform.fetch(request, on_wait=lambda _wait: None):
            for product in getattr(event, "products", ()):
                received.append(product.id)
            for key in ids[: len(received) // 3]:
                current = catalog.product(key)
                if current is not None and current.status != "trash":
                    catalog.trash_product(key)
        left = {str(product.id) for product in catalog.products() if product.status != "trash"}
    assert left <= set(received)
    assert len(received) == len(set(received))


async def test_a_product_restored_behind_the_cursor_is_read_by_its_id(tmp_path: Path) -> None:
    """Its id is lower than all that are still to be read, so no later page contains it."""
    async with _store(tmp_path, products=900, edge_cases=False) as (store, platform):
        catalog = store.catalog(SHOP.domain)
        first = next(iter(catalog.products()))
        catalog.trash_product(first.id)

        def restore(_: Pass) -> None:
            catalog.update_product(first.id, status="publish")

        seen = await read_pass(platform, FetchRequest(shop=SHOP, max_batch_products=30), after_batch=restore)
    assert [product.id for product in seen.products].count(str(first.id)) == 1
    assert (seen.end.emitted_count, seen.end.warnings) == (900, ())


async def test_a_resumed_pass_that_saw_changes_lists_the_ids_that_belonged_to_earlier_streams(
    tmp_path: Path,
) -> None:
    """Only the receiver knows which of these products it has; it requests the others by id."""
    async with _store(tmp_path, products=400, edge_cases=False) as (store, platform):
        catalog = store.catalog(SHOP.domain)
        whole = await read_pass(platform, FetchRequest(shop=SHOP, max_batch_products=50))
        deleted_id, checkpoint = int(whole.products[70].id), whole.batches[2].checkpoint
        catalog.delete_product(deleted_id)
        rest = await read_pass(platform, FetchRequest(shop=SHOP, max_batch_products=50, checkpoint=checkpoint))
    before = [product.id for batch in whole.batches[:3] for product in batch.products]
    listed = [key for batch in rest.batches for key in batch.listed_product_ids]
    assert listed == [key for key in before if key != str(deleted_id)]
    assert rest.end.warnings == ()


async def test_a_pass_is_not_resumed_in_another_currency(tmp_path: Path) -> None:
    async with _store(tmp_path, products=100) as (store, platform):
        whole = await read_pass(platform, FetchRequest(shop=SHOP, max_batch_products=50))
        _set_currency(store.catalog(SHOP.domain), "USD")
        with pytest.raises(SourceCurrencyChanged):
            await read_pass(platform, FetchRequest(shop=SHOP, checkpoint=whole.batches[0].checkpoint))
        assert (await read_pass(platform)).headers[0].shop_info.currency_code == "USD"


@pytest.mark.parametrize("since", [None, datetime(2020, 1, 1, tzinfo=UTC)])
async def test_a_pass_during_which_the_currency_changed_fails(tmp_path: Path, since: datetime | None) -> None:
    async with _store(tmp_path, products=100) as (store, platform):
        request = FetchRequest(shop=SHOP, updated_after=since, max_batch_products=50)
        with pytest.raises(SourceCurrencyChanged) as raised:
            await read_pass(
                platform, request, after_batch=lambda _: _set_currency(store.catalog(SHOP.domain), "USD")
            )
    assert (raised.value.metadata["expected"], raised.value.metadata["received"]) == ("EUR", "USD")


async def test_a_pass_resumed_after_products_were_trashed_misses_nothing(tmp_path: Path) -> None:
    async with _store(tmp_path, products=300, edge_cases=False) as (store, platform):
        catalog = store.catalog(SHOP.domain)
        first = await read_pass(platform, FetchRequest(shop=SHOP, max_batch_products=50))
        for product in first.products[:140]:
            catalog.trash_product(int(product.id))
        rest = await read_pass(
            platform, FetchRequest(shop=SHOP, max_batch_products=50, checkpoint=first.batches[2].checkpoint)
        )
    received = {product.id for batch in first.batches[:3] for product in batch.products}
    assert [product.id for product in rest.products] == [p.id for p in first.products if p.id not in received]


async def test_truncated_responses_are_retried_and_never_accepted(tmp_path: Path) -> None:
    async with _store(tmp_path, products=50) as (store, platform):
        expected = _expected_items(store.catalog(SHOP.domain))
        store.fail_next(SHOP.domain, 2, status=200, body='[{"id": 1, "images": [{"id": 2}]')
        assert _received_items(await read_pass(platform)) == expected
        store.fail_next(SHOP.domain, 3, status=200, body='[{"id": 1, "images": [{"id": 2}]')
        with pytest.raises(SourceResponseInvalid, match="truncated"):
            await read_pass(platform)


async def test_closing_a_pass_cancels_its_requests(tmp_path: Path) -> None:
    async with _store(tmp_path, products=2_000, edge_cases=False) as (store, platform):
        events = platform.fetch(FetchRequest(shop=SHOP, max_batch_products=20), on_wait=lambda _wait: None)
        await anext(events)
        await anext(events)
        await events.aclose()
        calls = store.requests(SHOP.domain).calls
        assert calls < 25
        await read_pass(platform)
        assert store.requests(SHOP.domain).calls > calls


async def test_an_incremental_pass_delivers_only_what_changed(tmp_path: Path) -> None:
    async with _store(tmp_path, products=300, edge_cases=False) as (store, platform):
        catalog = store.catalog(SHOP.domain)
        full = await read_pass(platform)
        watermark = full.headers[0].watermark
        changed = [product.id for product in list(catalog.products())[10:13]]
        for key in changed:
            catalog.update_product(key, title="Changed")
        seen = await read_pass(platform, FetchRequest(shop=SHOP, updated_after=watermark))
    assert {product.id for product in seen.products} == {str(key) for key in changed}
    assert seen.end.source_count == 3
    assert {product.title for product in seen.products} == {"Changed"}


@pytest.mark.parametrize(("version", "notes"), [("8.2", 1), ("10.3", 0)])
async def test_check_reports_product_count_currency_version_and_variation_route(
    tmp_path: Path, version: str, notes: int
) -> None:
    async with _store(tmp_path, products=40, version=version) as (store, platform):
        info = await platform.check(SHOP)
        live = [product for product in store.catalog(SHOP.domain).products() if product.status != "trash"]
    assert info.product_count == len(live)
    assert info.currency_code == "EUR"
    assert info.served_api_version.startswith(f"wc/v3, WooCommerce {version}")
    assert len([note for note in info.notes if "variations route" in note]) == notes
