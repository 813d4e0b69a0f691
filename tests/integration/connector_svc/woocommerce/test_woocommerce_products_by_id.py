"""Products requested by id, and variations that a product names and the store does not have."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import web

from connector_svc.domain.fetch import FetchRequest
from devstore.catalog.model import Kind, Product
from devstore.faults import FaultKind, RequestMatcher, ScriptedFault
from devstore.woocommerce.quirks import WooQuirk
from tests.contract.woocommerce.read_pass import SHOP, Pass, read_pass
from tests.integration.connector_svc.woocommerce.test_woocommerce_stock_scan import incremental_request
from tests.integration.connector_svc.woocommerce.woo_store import Store, woo_store

VERSIONS = ["8.2", "10.3"]


def _request(*ids: object) -> FetchRequest:
    return FetchRequest(shop=SHOP, product_ids=tuple(map(str, ids)))


def _deleted(seen: Pass) -> list[str]:
    return [key for batch in seen.batches for key in batch.deleted_product_ids]


def _variable(store: Store) -> Product:
    """Return the last product with three variations or more."""
    return [p for p in store.catalog.products() if p.kind is Kind.VARIABLE and len(p.variants) >= 3][-1]


@pytest.mark.parametrize("version", VERSIONS)
async def test_products_requested_by_id_equal_those_of_a_full_pass(tmp_path: Path, version: str) -> None:
    async with woo_store(tmp_path, products=400, version=version) as (_, platform):
        whole = (await read_pass(platform)).by_id()
        requested = sorted(whole)[::2]
        seen = await read_pass(platform, _request(*requested))
        assert {key: whole[key] for key in requested} == seen.by_id()
    assert len(seen.products) == len(requested)
    assert _deleted(seen) == []
    assert (seen.end.emitted_count, seen.headers[0].strategy) == (len(requested), "ids")


async def test_an_unknown_id_is_deleted_and_an_id_without_an_answer_is_not_reported(
    tmp_path: Path,
) -> None:
    class FailingProducts:
        """WordPress fails for one product; another is forbidden."""

        async def __call__(self, request: web.Request) -> web.StreamResponse | None:
            if request.path.endswith(f"/products/{failing}"):
                return web.Response(status=500, text="{}")
            if request.path.endswith(f"/products/{forbidden}"):
                body = {"code": "woocommerce_rest_cannot_view", "message": "no", "data": {"status": 403}}
                return web.json_response(body, status=403)
            return None

    async with woo_store(tmp_path, products=60, edge_cases=False) as (store, platform):
        ids = [product.id for product in store.catalog.products()]
        alive, trashed, deleted, failing, forbidden = ids[:5]
        variation = _variable(store).variants[0].id
        store.catalog.trash_product(trashed)
        for gone in (deleted, failing, forbidden):
            store.catalog.delete_product(gone)
        store.running.add_fault(SHOP.domain, FailingProducts())
        seen = await read_pass(
            platform, _request(alive, trashed, deleted, failing, forbidden, variation, 77, "no-id")
        )
    assert [product.id for product in seen.products] == [str(alive)]
    assert set(_deleted(seen)) == {str(key) for key in (trashed, deleted, variation, 77, "no-id")}


async def test_a_product_that_the_list_leaves_out_is_read_alone_and_not_deleted(
    tmp_path: Path,
) -> None:
    async with woo_store(tmp_path, products=60, edge_cases=False) as (store, platform):
        ids = [product.id for product in store.catalog.products()]
        drops = ScriptedFault(kind=FaultKind.DROPPED_ROWS, matcher=RequestMatcher(where="include"))
        store.running.add_fault(SHOP.domain, drops)
        seen = await read_pass(platform, _request(*ids))
    assert {product.id for product in seen.products} == {str(key) for key in ids}
    assert all(product.variants_complete for product in seen.products)
    assert (_deleted(seen), seen.issues) == ([], [])


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_deleted_variation_is_not_delivered_although_its_product_still_names_it(
    tmp_path: Path, version: str
) -> None:
    quirks = frozenset({WooQuirk.STALE_CHILDREN})
    async with woo_store(tmp_path, products=120, version=version, woo_quirks=quirks) as (store, platform):
        parent = _variable(store)
        request = await incremental_request(platform)
        removed = parent.variants[1].id
        store.catalog.delete_variant(removed, touch=False)
        full = await read_pass(platform)
        incremental = await read_pass(platform, request)
    for seen in (full, incremental):
        product = seen.by_id()[str(parent.id)]
        assert product.variants_complete
        assert str(removed) not in {variant.id for variant in product.variants}
        assert len(product.variants) == len(parent.variants) - 1
        assert seen.issues == []
    assert [product.id for product in incremental.products] == [str(parent.id)]


async def test_a_missing_variation_that_exists_is_not_treated_as_deleted(tmp_path: Path) -> None:
    """No list contains it, not even by its id: a plugin filters lists."""
    async with woo_store(tmp_path, products=120) as (store, platform):
        parent = _variable(store)
        hidden = parent.variants[1].id

        class FilteredLists:
            async def __call__(self, request: web.Request) -> web.StreamResponse | None:
                if request.path.endswith("/variations"):
                    shown = request.query.get("parent", request.query.get("include", str(parent.id)))
                    if str(parent.id) in shown or str(hidden) in shown or str(parent.id) in request.path:
                        return web.json_response([], headers={"X-WP-Total": "0"})
                return None

        store.running.add_fault(SHOP.domain, FilteredLists())
        seen = await read_pass(platform, _request(parent.id))
    (product,) = seen.products
    assert not product.variants_complete
    assert [issue.reason.name for issue in seen.issues] == ["INCOMPLETE_VARIANTS"]


async def test_a_404_for_the_variations_of_one_product_does_not_fail_the_pass(tmp_path: Path) -> None:
    quirks = frozenset({WooQuirk.NO_BULK_VARIATIONS})
    async with woo_store(tmp_path, products=60, woo_quirks=quirks) as (store, platform):
        parent = _variable(store)

        class DeletedProduct:
            async def __call__(self, request: web.Request) -> web.StreamResponse | None:
                if request.path.endswith(f"/products/{parent.id}/variations"):
                    if store.catalog.product(parent.id):
                        store.catalog.delete_product(parent.id)
                    code = "woocommerce_rest_product_invalid_id"
                    return web.json_response({"code": code, "message": "no"}, status=404)
                return None

        store.running.add_fault(SHOP.domain, DeletedProduct())
        seen = await read_pass(platform)
        assert {product.id for product in seen.products} == store.live_ids()
    assert str(parent.id) not in seen.by_id()
