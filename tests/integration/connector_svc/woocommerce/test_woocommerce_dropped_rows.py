"""No product is lost where a store leaves rows out of its pages, whatever else changes meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from aiohttp import web

from connector_svc.domain.fetch import FetchRequest
from devstore.catalog.catalog import Catalog
from devstore.faults import FaultKind, RequestMatcher, ScriptedFault
from tests.case_counts import case_count
from tests.contract.woocommerce.read_pass import SHOP, product_ids, read_pass
from tests.integration.connector_svc.woocommerce.woo_store import Store, woo_store

Change = Callable[[Catalog, Random], None]


def _delete(catalog: Catalog, rng: Random) -> None:
    catalog.delete_product(rng.choice([row.id for row in catalog.rows()]))


def _edit(catalog: Catalog, rng: Random) -> None:
    catalog.update_product(rng.choice([row.id for row in catalog.rows()]), title="Edited")


CHANGES: dict[str, Change] = {"deleted": _delete, "edited": _edit}


def _drop_rows(store: Store, share: float, seed: int) -> ScriptedFault:
    fault = ScriptedFault(
        kind=FaultKind.DROPPED_ROWS, matcher=RequestMatcher(where="per_page", share=share, seed=seed)
    )
    store.running.add_fault(SHOP.domain, fault)
    return fault


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("seed", range(case_count(3, in_ci=10)))
async def test_no_product_is_lost_to_dropped_rows_while_others_change(
    tmp_path: Path, change: str, seed: int
) -> None:
    async with woo_store(tmp_path, products=900, edge_cases=False, seed=seed) as (store, platform):
        fault = _drop_rows(store, 0.1, seed)
        rng = Random(seed)
        request = FetchRequest(shop=SHOP, max_batch_products=40)
        seen = await read_pass(platform, request, after_batch=lambda _: CHANGES[change](store.catalog, rng))
        received = [product.id for product in seen.products]
        assert store.live_ids() <= set(received)
        assert len(received) == len(set(received))
        assert fault.matched > 0
    assert all(product.variants_complete for product in seen.products)
    assert seen.issues == []


@pytest.mark.parametrize("seed", range(case_count(2, in_ci=5)))
async def test_no_change_is_lost_to_dropped_rows_while_others_change(tmp_path: Path, seed: int) -> None:
    async with woo_store(tmp_path, products=600, edge_cases=False, seed=seed) as (store, platform):
        watermark = (await read_pass(platform)).headers[0].watermark
        changed = [row.id for row in store.catalog.rows()][::2]
        for product_id in changed:
            store.catalog.update_product(product_id, title="Changed")
        _drop_rows(store, 0.3, seed)
        rng = Random(seed)
        request = FetchRequest(shop=SHOP, updated_after=watermark, max_batch_products=40)
        seen = await read_pass(platform, request, after_batch=lambda _: _delete(store.catalog, rng))
        assert {str(key) for key in changed} & store.live_ids() <= {product.id for product in seen.products}


async def test_a_resumed_pass_delivers_no_product_twice_that_was_created_while_it_ran(tmp_path: Path) -> None:
    async with woo_store(tmp_path, products=220, edge_cases=False) as (store, platform):
        first, *_, last = [row.id for row in store.catalog.rows()]
        to_delete, to_add = [first], ["One", "Two", "Three"]

        async def change(request: web.Request) -> None:
            while to_delete and int(request.query.get("offset", 0)):
                store.catalog.delete_product(to_delete.pop())
            while to_add and not to_delete and request.query.get("_fields") == "id":
                store.catalog.add_product(title=to_add.pop())

        store.running.add_fault(SHOP.domain, change)
        request = FetchRequest(shop=SHOP, max_batch_products=2)
        whole = await read_pass(platform, request)
        late = next(n for n, batch in enumerate(whole.batches) if any(int(p.id) > last for p in batch.products))
        received = [product.id for batch in whole.batches[: late + 1] for product in batch.products]
        rest = await read_pass(platform, replace(request, checkpoint=whole.batches[late].checkpoint))
    assert sorted(received + product_ids(rest.products)) == sorted(product_ids(whole.products)), "each once"
    assert rest.end.emitted_count == whole.end.emitted_count == len(whole.products)


async def test_rows_that_an_unchanged_store_drops_now_and_then_need_no_id_listing(tmp_path: Path) -> None:
    async with woo_store(tmp_path, products=900, edge_cases=False) as (store, platform):
        fault = _drop_rows(store, 0.1, 4)
        seen = await read_pass(platform)
        requests = store.running.requests(SHOP.domain).recent
        assert {product.id for product in seen.products} == store.live_ids()
        assert fault.matched > 0
    id_listings = [note for note in requests if note.query.get("_fields") == "id" and "offset" in note.query]
    assert id_listings == []
    assert (seen.end.source_count, seen.end.warnings) == (900, ())


async def test_no_product_is_lost_where_every_list_lacks_a_row(tmp_path: Path) -> None:
    """No two responses lack the same row: a row in one is not missing because another lacks it."""
    async with woo_store(tmp_path, products=250, edge_cases=False) as (store, platform):
        _drop_rows(store, 1.0, 1)
        seen = await read_pass(platform)
        assert {product.id for product in seen.products} == store.live_ids()
    assert not [issue for issue in seen.issues if issue.product_rejected]
    assert seen.end.warnings
