"""A pass over a shop that omits products while they change ends only when it has delivered all of them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web

from connector_svc.domain.errors import SourceCountMismatch
from connector_svc.platforms.shopify.read_strategy import ReadStrategy
from devstore.catalog.catalog import Catalog
from devstore.spec import VariantRange
from tests.case_counts import case_count
from tests.integration.connector_svc.shopify.bulk_shop import DOMAIN, NEVER_BULK, BulkShop, bulk_shop

ONE = VariantRange(least=1, most=1)
PRODUCTS = 300
Change = Callable[[Catalog], None]


def shop_read_by(strategy: ReadStrategy, products: int = PRODUCTS) -> AbstractAsyncContextManager[BulkShop]:
    return bulk_shop(products, edge_cases=False, variants=ONE, policy=NEVER_BULK, strategy=strategy)


def delete_first(catalog: Catalog) -> None:
    """Delete a product that was delivered already, so that the count hides one that was not."""
    catalog.delete_product(next(catalog.products()).id)


def add_three(catalog: Catalog) -> None:
    """Add products after all others, since ids grow."""
    for _ in range(3):
        catalog.add_product(title="New")


def no_change(catalog: Catalog) -> None:
    """Change nothing."""


def edit_one(catalog: Catalog) -> None:
    """Update a product so that it leaves the window of an incremental pass."""
    product = next(one for one in catalog.products() if one.title == "Changed")
    catalog.update_product(product.id, title="Changed again")


def change_before_each(shop: BulkShop, change: Change, *operations: bytes) -> None:
    """Apply `change` before each request with one of the operations."""

    async def before(request: web.Request) -> None:
        body = await request.read()
        if any(operation in body for operation in operations):
            change(shop.catalog)

    shop.store.add_fault(DOMAIN, before)


def ids_of(catalog: Catalog) -> set[str]:
    return {str(product.id) for product in catalog.products()}


@pytest.mark.parametrize("seed", range(case_count(3, in_ci=10)))
async def test_null_nodes_lose_no_product_while_others_are_deleted(seed: int) -> None:
    async with shop_read_by(ReadStrategy.IDS) as shop:
        quirks = shop.store.shopify(DOMAIN).quirks
        quirks.random.seed(seed)
        quirks.null_nodes = 0.05
        change_before_each(shop, delete_first, b"ProductsById")
        found = await shop.fetch(batch=50)
        assert ids_of(shop.catalog) <= set(found.ids)
        assert len(found.ids) == len(set(found.ids)), "nothing was delivered twice"


@pytest.mark.parametrize("seed", range(case_count(2, in_ci=5)))
async def test_null_nodes_lose_no_changed_product_while_others_are_edited(seed: int) -> None:
    async with shop_read_by(ReadStrategy.IDS) as shop:
        quirks = shop.store.shopify(DOMAIN).quirks
        quirks.random.seed(seed)
        after = datetime.now(UTC) - timedelta(minutes=5)
        changed = [product.id for product in shop.catalog.products()][100:280]
        for product_id in changed:
            shop.catalog.update_product(product_id, title="Changed")
        quirks.null_nodes = 0.05
        change_before_each(shop, edit_one, b"ProductsById")
        found = await shop.fetch(batch=50, after=after)
        assert set(map(str, changed)) & ids_of(shop.catalog) <= set(found.ids)


@pytest.mark.parametrize("seed", range(case_count(2, in_ci=5)))
async def test_products_omitted_from_pages_are_read_by_id_or_the_pass_fails(seed: int) -> None:
    async with shop_read_by(ReadStrategy.PAGING) as shop:
        quirks = shop.store.shopify(DOMAIN).quirks
        quirks.random.seed(seed)
        quirks.lost_rows = 0.002
        change_before_each(shop, delete_first, b"ProductPage")
        try:
            found = await shop.fetch(batch=50)
        except SourceCountMismatch:
            return
        assert ids_of(shop.catalog) <= set(found.ids)


async def test_a_resumed_pass_finds_what_was_missing_before_and_delivers_nothing_twice() -> None:
    async with shop_read_by(ReadStrategy.PAGING) as shop:
        quirks = shop.store.shopify(DOMAIN).quirks
        quirks.lost_rows = 0.05
        begun = await shop.fetch(batch=50, batches=3)
        quirks.lost_rows = 0.0
        assert begun.ids != sorted(ids_of(shop.catalog), key=int)[: len(begun.ids)], "some were omitted"
        for product_id in begun.ids[:20]:
            shop.catalog.delete_product(int(product_id))
        rest = await shop.fetch(batch=50, checkpoint=begun.batches[-1].checkpoint)
        assert ids_of(shop.catalog) <= {*begun.ids, *rest.ids}
        assert len(begun.ids) + len(rest.ids) == len({*begun.ids, *rest.ids})


async def test_a_resumed_pass_delivers_no_product_twice_that_was_created_during_the_pass() -> None:
    async with shop_read_by(ReadStrategy.PAGING, products=20) as shop:
        last = max(map(int, ids_of(shop.catalog)))
        deleting, adding = iter((delete_first,)), iter((add_three,))
        change_before_each(shop, lambda catalog: next(deleting, no_change)(catalog), b"ProductPage")
        change_before_each(shop, lambda catalog: next(adding, no_change)(catalog), b"ProductIds")
        whole = await shop.fetch(batch=2)
        late = next(n for n, batch in enumerate(whole.batches) if any(int(p.id) > last for p in batch.products))
        came = [product.id for batch in whole.batches[: late + 1] for product in batch.products]
        rest = await shop.fetch(batch=2, checkpoint=whole.batches[late].checkpoint)
        assert sorted(came + rest.ids) == sorted(whole.ids), "each once"
        assert rest.end.emitted_count == whole.end.emitted_count == len(whole.ids)


async def test_a_resumed_pass_in_which_much_was_deleted_is_restarted() -> None:
    async with shop_read_by(ReadStrategy.PAGING) as shop:
        begun = await shop.fetch(batch=50, batches=5)
        for product_id in begun.ids[:245]:
            shop.catalog.delete_product(int(product_id))
        rest = await shop.fetch(batch=50, checkpoint=begun.batches[-1].checkpoint)
        assert ids_of(shop.catalog) <= set(rest.ids)
        assert rest.end.source_count == len(ids_of(shop.catalog)) == 55


async def test_products_missing_from_a_bulk_file_are_found_while_others_are_deleted() -> None:
    async with bulk_shop(PRODUCTS, edge_cases=False, variants=ONE) as shop:
        shop.jobs.switches.loses_every = 100
        begun = await shop.fetch(batches=1)
        for _ in range(case_count(2, in_ci=5)):
            delete_first(shop.catalog)
        rest = await shop.fetch(checkpoint=begun.batches[0].checkpoint)
        assert shop.call_count("ProductIds") > 0
        assert ids_of(shop.catalog) <= set(rest.ids)


async def test_a_pass_without_changes_requests_no_listing() -> None:
    async with shop_read_by(ReadStrategy.PAGING) as shop:
        await shop.fetch()
        assert shop.call_count("ProductIds") == 0
