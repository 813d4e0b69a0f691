"""The deletions that an incremental pass reports."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from aiohttp import web

from connector_svc.platforms.shopify.deletion_detection import MAX_LISTED_PRODUCTS
from devstore.catalog.catalog import Catalog, Deletion
from tests.integration.connector_svc.shopify.test_shopify_devstore import DOMAIN, Pass, devstore, fetch


def earlier() -> datetime:
    return datetime.now(UTC) - timedelta(minutes=5)


def ids_of(catalog: Catalog) -> list[str]:
    return [str(product.id) for product in catalog.products()]


def deleted(found: Pass) -> list[str]:
    return [product_id for batch in found.batches for product_id in batch.deleted_product_ids]


def listed(found: Pass) -> list[str]:
    return [product_id for batch in found.batches for product_id in batch.listed_product_ids]


async def test_a_deleted_product_is_reported_and_all_others_are_listed() -> None:
    async with devstore(30, edge_cases=False) as (store, platform):
        catalog = store.catalog(DOMAIN)
        deleted_id = ids_of(catalog)[3]
        catalog.delete_product(int(deleted_id))
        found = await fetch(platform, after=earlier())
        assert listed(found) == ids_of(catalog)
    assert deleted(found) == [deleted_id]
    assert found.end.all_listed
    assert found.products == []


async def test_a_full_pass_lists_and_deletes_nothing_by_itself() -> None:
    async with devstore(5, edge_cases=False) as (store, platform):
        store.catalog(DOMAIN).delete_product(int(ids_of(store.catalog(DOMAIN))[0]))
        found = await fetch(platform)
    assert (deleted(found), listed(found), found.end.all_listed) == ([], [], False)


async def test_a_large_shop_is_not_listed_but_deletions_confirmed_by_id_are_reported() -> None:
    async with devstore(MAX_LISTED_PRODUCTS + 2, edge_cases=False) as (store, platform):
        catalog = store.catalog(DOMAIN)
        products = catalog.products()
        deleted_id, existing = str(next(products).id), next(products).id
        catalog.delete_product(int(deleted_id))
        catalog.deletions.append(Deletion(product_id=existing, title="", at=catalog.deletions[0].at))
        found = await fetch(platform, after=earlier())
    assert (deleted(found), listed(found), found.end.all_listed) == ([deleted_id], [], False)


async def test_an_event_is_not_trusted_while_the_product_still_exists() -> None:
    """microsoft/BCApps#9313: a product that still existed was deleted."""
    async with devstore(30, edge_cases=False) as (store, platform):
        catalog = store.catalog(DOMAIN)
        product = next(catalog.products())
        catalog.delete_product(product.id)
        deletion = catalog.deletions.pop()
        catalog.deletions += [deletion, *(false_event(catalog, index) for index in (4, 5))]
        found = await fetch(platform, after=earlier())
    assert deleted(found) == [str(product.id)]


async def test_an_event_and_one_null_are_not_enough_to_report_a_product_as_deleted() -> None:
    async with devstore(MAX_LISTED_PRODUCTS + 2, edge_cases=False) as (store, platform):
        catalog = store.catalog(DOMAIN)
        existing = next(catalog.products()).id
        catalog.deletions.append(
            Deletion(product_id=existing, title="", at=datetime.now(UTC).replace(microsecond=0))
        )
        answers = iter([True])

        async def null_once(request: web.Request) -> web.StreamResponse | None:
            body = await request.json()
            if "ExistingProducts" not in body["query"] or not next(answers, False):
                return None
            return web.json_response({"data": {"nodes": [None]}}, headers={"X-Shopify-API-Version": "2026-10"})

        store.add_fault(DOMAIN, null_once)
        found = await fetch(platform, after=earlier())
    assert deleted(found) == []


def false_event(catalog: Catalog, index: int) -> Deletion:
    product = list(catalog.products())[index]
    return Deletion(product_id=product.id, title="", at=datetime.now(UTC).replace(microsecond=0))


async def test_events_before_the_window_are_not_reported_again() -> None:
    async with devstore(10, edge_cases=False) as (store, platform):
        catalog = store.catalog(DOMAIN)
        catalog.delete_product(int(ids_of(catalog)[0]))
        found = await fetch(platform, after=datetime.now(UTC) + timedelta(minutes=1))
    assert deleted(found) == []


async def test_many_deletions_are_reported_page_by_page_and_a_pass_resumes_between_them() -> None:
    async with devstore(620, edge_cases=False) as (store, platform):
        catalog = store.catalog(DOMAIN)
        after = earlier()
        deleted_ids = ids_of(catalog)[:300]
        for product_id in deleted_ids:
            catalog.delete_product(int(product_id))
        whole = await fetch(platform, after=after)
        assert deleted(whole) == deleted_ids
        assert listed(whole) == ids_of(catalog)
        assert len([batch for batch in whole.batches if not batch.stock_levels]) == 4
        for index, batch in enumerate(whole.batches):
            rest = await fetch(platform, after=after, checkpoint=batch.checkpoint)
            later = whole.batches[index + 1 :]
            assert deleted(rest) == [product_id for batch in later for product_id in batch.deleted_product_ids]
            assert listed(rest) == [product_id for batch in later for product_id in batch.listed_product_ids]
            assert rest.end == whole.end


async def test_a_listing_that_is_shorter_than_the_count_allows_no_conclusion() -> None:
    async def list_nothing(request: web.Request) -> web.StreamResponse | None:
        body = await request.json()
        if "ProductIds" not in body["query"]:
            return None
        empty = {"data": {"products": {"nodes": [], "pageInfo": {"hasNextPage": False, "endCursor": None}}}}
        return web.json_response(empty, headers={"X-Shopify-API-Version": "2026-10"})

    async with devstore(10, edge_cases=False) as (store, platform):
        store.add_fault(DOMAIN, list_nothing)
        found = await fetch(platform, after=earlier())
    assert (listed(found), found.end.all_listed) == ([], False)


async def test_a_shop_that_denies_access_to_events_is_still_listed() -> None:
    async def deny_events(request: web.Request) -> web.StreamResponse | None:
        body = await request.json()
        if "ProductDeletions" not in body["query"]:
            return None
        refusal = {"errors": [{"message": "no", "extensions": {"code": "ACCESS_DENIED"}}], "data": None}
        return web.json_response(refusal, headers={"X-Shopify-API-Version": "2026-10"})

    async with devstore(10, edge_cases=False) as (store, platform):
        store.add_fault(DOMAIN, deny_events)
        found = await fetch(platform, after=earlier())
    assert (len(listed(found)), found.end.all_listed) == (10, True)
