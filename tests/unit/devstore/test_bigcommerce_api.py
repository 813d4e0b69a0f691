"""The BigCommerce API behaves as the platform where connectors break."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from devstore.bigcommerce.rate_limit import RateLimiter
from devstore.catalog.model import Platform
from devstore.server import RunningStore, serving
from devstore.spec import ShopSpec
from tests.unit.devstore.conftest import client_session

SPEC = ShopSpec(platform=Platform.BIGCOMMERCE, domain="store-abc123.mybigcommerce.com", products=60)


@dataclass(slots=True)
class BigCommerceClient:
    """Sends requests, by default with the valid token."""

    store: RunningStore
    session: aiohttp.ClientSession

    async def get(self, path: str, *, store_hash: str = "abc123", token: str = "") -> tuple[int, Any]:
        url = f"{self.store.base_url(SPEC.domain)}/stores/{store_hash}/{path}"
        headers = {"X-Auth-Token": token or SPEC.credentials["access_token"]}
        async with self.session.get(url, headers=headers) as reply:
            return reply.status, json.loads(await reply.text(), parse_float=Decimal)


@pytest.fixture
async def api(tls_dir: Path) -> AsyncIterator[BigCommerceClient]:
    async with serving([SPEC], tls_dir=tls_dir, throttle=False) as store, client_session(store) as session:
        yield BigCommerceClient(store, session)


async def test_the_list_of_variants_equals_the_oracle(api: BigCommerceClient) -> None:
    shown: set[tuple[str, str, str]] = set()
    for page in range(1, 100):
        _, body = await api.get(f"v3/catalog/variants?limit=250&page={page}")
        shown |= {(str(row["id"]), row["sku"], str(row["calculated_price"])) for row in body["data"]}
        if page >= body["meta"]["pagination"]["total_pages"]:
            break
    expected = {(i.item_id, i.sku, str(i.price)) for i in api.store.catalog(SPEC.domain).sellable_items()}
    assert shown == expected


@pytest.mark.parametrize(("include", "count"), [("variants,images", 60), ("variants,options", 10)])
async def test_a_page_with_options_has_ten_products(api: BigCommerceClient, include: str, count: int) -> None:
    _, body = await api.get(f"v3/catalog/products?include={include}&limit=250")
    assert (len(body["data"]), body["meta"]["pagination"]["total"]) == (count, 60)


async def test_a_variant_change_does_not_change_the_date_of_its_product(api: BigCommerceClient) -> None:
    catalog = api.store.catalog(SPEC.domain)
    row = next(catalog.rows())
    path = f"v3/catalog/products?id:in={row.id}&include_fields=date_modified"
    before = await api.get(path)
    catalog.update_variant(row.variant_ids[0], stock=4711)
    assert await api.get(path) == before
    catalog.update_product(row.id, title="Changed")
    assert await api.get(path) != before


async def test_included_variants_are_silently_cut(api: BigCommerceClient) -> None:
    large = api.store.catalog(SPEC.domain).edge_case("variants-600").id
    _, body = await api.get(f"v3/catalog/products?id:in={large}&include=variants")
    assert len(body["data"][0]["variants"]) == 250
    _, body = await api.get(f"v3/catalog/variants?product_id:in={large}&limit=1")
    assert body["meta"]["pagination"]["total"] == 600


async def test_wrong_tokens_hashes_and_filters_are_rejected(api: BigCommerceClient) -> None:
    assert (await api.get("v2/store", token="wrong"))[0] == 401
    assert (await api.get("v2/store", store_hash="zzz"))[0] == 404
    assert (await api.get("v3/catalog/variants?date_modified:min=2026-01-01"))[0] == 422
    assert (await api.get("v3/catalog/products?id:greater=x"))[0] == 422


def test_the_rate_limiter_allows_its_quota_and_reports_the_start_of_the_next_window() -> None:
    now = 100.0
    limiter = RateLimiter(2, 30.0, throttle=True, clock=lambda: now)
    assert [limiter.take(), limiter.take(), limiter.take()] == [True, True, False]
    now = 110.0
    assert limiter.headers()["X-Rate-Limit-Requests-Left"] == "0"
    assert limiter.headers()["X-Rate-Limit-Time-Reset-Ms"] == "20000"
    now = 130.0
    assert limiter.take()
