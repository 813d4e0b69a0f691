"""Products that are asked for by their ids, and variations that a product names and the store does not have."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import web

from connector_svc.domain.fetch import FetchRequest
from devstore.catalog.model import Kind, Product
from devstore.faults import FaultKind, RequestMatcher, ScriptedFault
from devstore.woocommerce.quirks import WooQuirk
from tests.contract.woocommerce.reading import SHOP, Pass, read
from tests.integration.connector_svc.woocommerce.test_woocommerce_sweep import since_now
from tests.integration.connector_svc.woocommerce.woo_store import Store, woo_store

VERSIONS = ["8.2", "10.3"]


def _request(*ids: object) -> FetchRequest:
    return FetchRequest(shop=SHOP, product_ids=tuple(map(str, ids)))


def _deleted(seen: Pass) -> list[str]:
    return [key for batch in seen.batches for key in batch.deleted_product_ids]


def _variable(store: Store) -> Product:
    """The last product of three variations or more."""
    return [p for p in store.catalog.products() if p.kind is Kind.VARIABLE and len(p.variants) >= 3][-1]


@pytest.mark.parametrize("version", VERSIONS)
async def test_products_asked_for_by_id_come_as_in_a_full_pass_and_no_others(tmp_path: Path, version: str) -> None:
    async with woo_store(tmp_path, products=400, version=version) as (_, platform):
        whole = (await read(platform)).by_id()
        asked = sorted(whole)[::2]
        seen = await read(platform, _request(*asked))
        assert {key: whole[key] for key in asked} == seen.by_id()
    assert len(seen.products) == len(asked)
    assert _deleted(seen) == []
    assert (seen.end.emitted_count, seen.headers[0].strategy) == (len(asked), "ids")


async def test_an_id_that_the_store_does_not_have_is_deleted_and_one_it_does_not_tell_of_is_nowhere(
    tmp_path: Path,
) -> None:
    class Broken:
        """WordPress dies over one product; another may not be seen."""

        async def __call__(self, request: web.Request) -> web.StreamResponse | None:
            if request.path.endswith(f"/products/{dies}"):
                return web.Response(status=500, text="{}")
            if request.path.endswith(f"/products/{closed}"):
                body = {"code": "woocommerce_rest_cannot_view", "message": "no", "data": {"status": 403}}
                return web.json_response(body, status=403)
            return None

    async with woo_store(tmp_path, products=60, edge_cases=False) as (store, platform):
        ids = [product.id for product in store.catalog.products()]
        alive, trashed, deleted, dies, closed = ids[:5]
        variation = _variable(store).variants[0].id
        store.catalog.trash_product(trashed)
        for gone in (deleted, dies, closed):
            store.catalog.delete_product(gone)
        store.running.add_fault(SHOP.domain, Broken())
        seen = await read(platform, _request(alive, trashed, deleted, dies, closed, variation, 77, "no-id"))
    assert [product.id for product in seen.products] == [str(alive)]
    assert set(_deleted(seen)) == {str(key) for key in (trashed, deleted, variation, 77, "no-id")}


async def test_a_row_that_the_list_of_ids_leaves_out_is_read_alone_and_not_taken_for_deleted(
    tmp_path: Path,
) -> None:
    async with woo_store(tmp_path, products=60, edge_cases=False) as (store, platform):
        ids = [product.id for product in store.catalog.products()]
        drops = ScriptedFault(kind=FaultKind.DROPPED_ROWS, matcher=RequestMatcher(where="include"))
        store.running.add_fault(SHOP.domain, drops)
        seen = await read(platform, _request(*ids))
    assert {product.id for product in seen.products} == {str(key) for key in ids}
    assert all(product.variants_complete for product in seen.products)
    assert (_deleted(seen), seen.issues) == ([], [])


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_variation_that_is_gone_is_gone_though_its_product_still_names_it(
    tmp_path: Path, version: str
) -> None:
    quirks = frozenset({WooQuirk.STALE_CHILDREN})
    async with woo_store(tmp_path, products=120, version=version, woo_quirks=quirks) as (store, platform):
        parent = _variable(store)
        request = await since_now(platform)
        removed = parent.variants[1].id
        store.catalog.delete_variant(removed, touch=False)
        full = await read(platform)
        incremental = await read(platform, request)
    for seen in (full, incremental):
        product = seen.by_id()[str(parent.id)]
        assert product.variants_complete
        assert str(removed) not in {variant.id for variant in product.variants}
        assert len(product.variants) == len(parent.variants) - 1
        assert seen.issues == []
    assert [product.id for product in incremental.products] == [str(parent.id)]


async def test_a_missing_variation_that_is_alive_is_not_taken_for_gone(tmp_path: Path) -> None:
    """No list holds it, also by its id: a plugin filters lists."""
    async with woo_store(tmp_path, products=120) as (store, platform):
        parent = _variable(store)
        hidden = parent.variants[1].id

        class Filtered:
            async def __call__(self, request: web.Request) -> web.StreamResponse | None:
                if request.path.endswith("/variations"):
                    shown = request.query.get("parent", request.query.get("include", str(parent.id)))
                    if str(parent.id) in shown or str(hidden) in shown or str(parent.id) in request.path:
                        return web.json_response([], headers={"X-WP-Total": "0"})
                return None

        store.running.add_fault(SHOP.domain, Filtered())
        seen = await read(platform, _request(parent.id))
    (product,) = seen.products
    assert not product.variants_complete
    assert [issue.reason.name for issue in seen.issues] == ["INCOMPLETE_VARIANTS"]


async def test_a_404_of_one_products_variations_is_no_missing_shop(tmp_path: Path) -> None:
    quirks = frozenset({WooQuirk.NO_BULK_VARIATIONS})
    async with woo_store(tmp_path, products=60, woo_quirks=quirks) as (store, platform):
        parent = _variable(store)

        class Gone:
            async def __call__(self, request: web.Request) -> web.StreamResponse | None:
                if request.path.endswith(f"/products/{parent.id}/variations"):
                    if store.catalog.product(parent.id):
                        store.catalog.delete_product(parent.id)
                    code = "woocommerce_rest_product_invalid_id"
                    return web.json_response({"code": code, "message": "no"}, status=404)
                return None

        store.running.add_fault(SHOP.domain, Gone())
        seen = await read(platform)
        assert {product.id for product in seen.products} == store.live()
    assert str(parent.id) not in seen.by_id()
