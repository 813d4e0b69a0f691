"""A store that leaves rows out of its pages loses no product, whatever else happens to it meanwhile."""

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
from tests.contract.woocommerce.reading import SHOP, all_ids, read
from tests.integration.connector_svc.woocommerce.woo_store import Store, woo_store
from tests.thoroughness import cases

Change = Callable[[Catalog, Random], None]


def _delete(catalog: Catalog, dice: Random) -> None:
    catalog.delete_product(dice.choice([row.id for row in catalog.rows()]))


def _edit(catalog: Catalog, dice: Random) -> None:
    catalog.update_product(dice.choice([row.id for row in catalog.rows()]), title="Edited")


CHANGES: dict[str, Change] = {"deleted": _delete, "edited": _edit}


def _drop_rows(store: Store, share: float, seed: int) -> ScriptedFault:
    fault = ScriptedFault(
        kind=FaultKind.DROPPED_ROWS, matcher=RequestMatcher(where="per_page", share=share, seed=seed)
    )
    store.running.add_fault(SHOP.domain, fault)
    return fault


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("seed", range(cases(3, in_ci=10)))
async def test_no_product_is_lost_to_dropped_rows_while_others_change(
    tmp_path: Path, change: str, seed: int
) -> None:
    async with woo_store(tmp_path, products=900, edge_cases=False, seed=seed) as (store, platform):
        fault = _drop_rows(store, 0.1, seed)
        dice = Random(seed)
        request = FetchRequest(shop=SHOP, max_batch_products=40)
        seen = await read(platform, request, after_batch=lambda _: CHANGES[change](store.catalog, dice))
        came = [product.id for product in seen.products]
        assert store.live() <= set(came)
        assert len(came) == len(set(came))
        assert fault.matched > 0
    assert all(product.variants_complete for product in seen.products)
    assert seen.issues == []


@pytest.mark.parametrize("seed", range(cases(2, in_ci=5)))
async def test_no_change_is_lost_to_dropped_rows_while_others_change(tmp_path: Path, seed: int) -> None:
    async with woo_store(tmp_path, products=600, edge_cases=False, seed=seed) as (store, platform):
        watermark = (await read(platform)).headers[0].watermark
        changed = [row.id for row in store.catalog.rows()][::2]
        for product_id in changed:
            store.catalog.update_product(product_id, title="Changed")
        _drop_rows(store, 0.3, seed)
        dice = Random(seed)
        request = FetchRequest(shop=SHOP, updated_after=watermark, max_batch_products=40)
        seen = await read(platform, request, after_batch=lambda _: _delete(store.catalog, dice))
        assert {str(key) for key in changed} & store.live() <= {product.id for product in seen.products}


async def test_a_resumed_pass_delivers_no_product_twice_that_was_made_while_it_ran(tmp_path: Path) -> None:
    async with woo_store(tmp_path, products=220, edge_cases=False) as (store, platform):
        first, *_, last = [row.id for row in store.catalog.rows()]
        to_delete, to_add = [first], ["One", "Two", "Three"]

        async def work(request: web.Request) -> None:
            while to_delete and int(request.query.get("offset", 0)):
                store.catalog.delete_product(to_delete.pop())
            while to_add and not to_delete and request.query.get("_fields") == "id":
                store.catalog.add_product(title=to_add.pop())

        store.running.add_fault(SHOP.domain, work)
        request = FetchRequest(shop=SHOP, max_batch_products=2)
        whole = await read(platform, request)
        late = next(n for n, batch in enumerate(whole.batches) if any(int(p.id) > last for p in batch.products))
        came = [product.id for batch in whole.batches[: late + 1] for product in batch.products]
        rest = await read(platform, replace(request, checkpoint=whole.batches[late].checkpoint))
    assert sorted(came + all_ids(rest.products)) == sorted(all_ids(whole.products)), "each once"
    assert rest.end.emitted_count == whole.end.emitted_count == len(whole.products)


async def test_rows_that_a_quiet_store_drops_now_and_then_cost_no_second_look(tmp_path: Path) -> None:
    async with woo_store(tmp_path, products=900, edge_cases=False) as (store, platform):
        fault = _drop_rows(store, 0.1, 4)
        seen = await read(platform)
        asked = store.running.requests(SHOP.domain).recent
        assert {product.id for product in seen.products} == store.live()
        assert fault.matched > 0
    listings = [note for note in asked if note.query.get("_fields") == "id" and "offset" in note.query]
    assert listings == []
    assert (seen.end.source_count, seen.end.warnings) == (900, ())


async def test_a_store_that_leaves_a_row_out_of_every_list_loses_no_product(tmp_path: Path) -> None:
    """No two answers lack the same row: what one holds is not taken for missing when another lacks it."""
    async with woo_store(tmp_path, products=250, edge_cases=False) as (store, platform):
        _drop_rows(store, 1.0, 1)
        seen = await read(platform)
        assert {product.id for product in seen.products} == store.live()
    assert not [issue for issue in seen.issues if issue.product_rejected]
    assert seen.end.warnings
