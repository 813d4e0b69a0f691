"""What an incremental pass tells of products that are gone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from aiohttp import web

from connector_svc.platforms.shopify.departures import LISTED_AT_MOST
from devstore.catalog.catalog import Catalog, Deletion
from tests.integration.connector_svc.shopify.test_shopify_devstore import DOMAIN, Pass, devstore, fetch


def earlier() -> datetime:
    return datetime.now(UTC) - timedelta(minutes=5)


def ids_of(catalog: Catalog) -> list[str]:
    return [str(product.id) for product in catalog.products()]


def deleted(found: Pass) -> list[str]:
    return [number for batch in found.batches for number in batch.deleted_product_ids]


def listed(found: Pass) -> list[str]:
    return [number for batch in found.batches for number in batch.listed_product_ids]


async def test_a_deleted_product_is_told_and_all_others_are_listed() -> None:
    async with devstore(30, edge_cases=False) as (store, platform):
        catalog = store.catalog(DOMAIN)
        gone = ids_of(catalog)[3]
        catalog.delete_product(int(gone))
        found = await fetch(platform, after=earlier())
        assert listed(found) == ids_of(catalog)
    assert deleted(found) == [gone]
    assert found.end.all_listed
    assert found.products == []


async def test_a_full_pass_lists_and_deletes_nothing_by_itself() -> None:
    async with devstore(5, edge_cases=False) as (store, platform):
        store.catalog(DOMAIN).delete_product(int(ids_of(store.catalog(DOMAIN))[0]))
        found = await fetch(platform)
    assert (deleted(found), listed(found), found.end.all_listed) == ([], [], False)


async def test_a_large_shop_is_not_listed_but_its_deletions_are_told_when_asking_by_id_confirms_them() -> None:
    async with devstore(LISTED_AT_MOST + 2, edge_cases=False) as (store, platform):
        catalog = store.catalog(DOMAIN)
        products = catalog.products()
        gone, there = str(next(products).id), next(products).id
        catalog.delete_product(int(gone))
        catalog.deletions.append(Deletion(product_id=there, title="", at=catalog.deletions[0].at))
        found = await fetch(platform, after=earlier())
    assert (deleted(found), listed(found), found.end.all_listed) == ([gone], [], False)


async def test_an_event_is_not_believed_while_the_product_is_still_there() -> None:
    """microsoft/BCApps#9313: what was not gone was deleted."""
    async with devstore(30, edge_cases=False) as (store, platform):
        catalog = store.catalog(DOMAIN)
        product = next(catalog.products())
        catalog.delete_product(product.id)
        gone = catalog.deletions.pop()
        catalog.deletions += [gone, *(one_of(catalog, index) for index in (4, 5))]
        found = await fetch(platform, after=earlier())
    assert deleted(found) == [str(product.id)]


async def test_an_event_and_one_null_are_not_enough_to_call_a_product_gone() -> None:
    async with devstore(LISTED_AT_MOST + 2, edge_cases=False) as (store, platform):
        catalog = store.catalog(DOMAIN)
        there = next(catalog.products()).id
        catalog.deletions.append(Deletion(product_id=there, title="", at=datetime.now(UTC).replace(microsecond=0)))
        answers = iter([True])

        async def null_once(request: web.Request) -> web.StreamResponse | None:
            asked = await request.json()
            if "StillThere" not in asked["query"] or not next(answers, False):
                return None
            return web.json_response({"data": {"nodes": [None]}}, headers={"X-Shopify-API-Version": "2026-10"})

        store.add_fault(DOMAIN, null_once)
        found = await fetch(platform, after=earlier())
    assert deleted(found) == []


def one_of(catalog: Catalog, index: int) -> Deletion:
    product = list(catalog.products())[index]
    return Deletion(product_id=product.id, title="", at=datetime.now(UTC).replace(microsecond=0))


async def test_events_of_before_the_window_are_not_told_again() -> None:
    async with devstore(10, edge_cases=False) as (store, platform):
        catalog = store.catalog(DOMAIN)
        catalog.delete_product(int(ids_of(catalog)[0]))
        found = await fetch(platform, after=datetime.now(UTC) + timedelta(minutes=1))
    assert deleted(found) == []


async def test_many_deletions_are_told_page_by_page_and_a_pass_resumes_between_them() -> None:
    async with devstore(620, edge_cases=False) as (store, platform):
        catalog = store.catalog(DOMAIN)
        after = earlier()
        gone = ids_of(catalog)[:300]
        for number in gone:
            catalog.delete_product(int(number))
        whole = await fetch(platform, after=after)
        assert deleted(whole) == gone
        assert listed(whole) == ids_of(catalog)
        assert len([batch for batch in whole.batches if not batch.stock_levels]) == 4
        for index, batch in enumerate(whole.batches):
            rest = await fetch(platform, after=after, checkpoint=batch.checkpoint)
            later = whole.batches[index + 1 :]
            assert deleted(rest) == [number for one in later for number in one.deleted_product_ids]
            assert listed(rest) == [number for one in later for number in one.listed_product_ids]
            assert rest.end == whole.end


async def test_a_listing_that_is_shorter_than_the_count_allows_no_conclusion() -> None:
    async def one_too_few(request: web.Request) -> web.StreamResponse | None:
        asked = await request.json()
        if "NextIds" not in asked["query"]:
            return None
        empty = {"data": {"products": {"nodes": [], "pageInfo": {"hasNextPage": False, "endCursor": None}}}}
        return web.json_response(empty, headers={"X-Shopify-API-Version": "2026-10"})

    async with devstore(10, edge_cases=False) as (store, platform):
        store.add_fault(DOMAIN, one_too_few)
        found = await fetch(platform, after=earlier())
    assert (listed(found), found.end.all_listed) == ([], False)


async def test_a_shop_that_keeps_its_events_from_us_is_still_listed() -> None:
    async def denied(request: web.Request) -> web.StreamResponse | None:
        asked = await request.json()
        if "Destroyed" not in asked["query"]:
            return None
        refusal = {"errors": [{"message": "no", "extensions": {"code": "ACCESS_DENIED"}}], "data": None}
        return web.json_response(refusal, headers={"X-Shopify-API-Version": "2026-10"})

    async with devstore(10, edge_cases=False) as (store, platform):
        store.add_fault(DOMAIN, denied)
        found = await fetch(platform, after=earlier())
    assert (len(listed(found)), found.end.all_listed) == (10, True)
