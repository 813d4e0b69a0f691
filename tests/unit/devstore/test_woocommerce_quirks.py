"""Each quirk of a WooCommerce shop behaves as observed hosts and plugins do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from devstore.catalog.model import Kind, Platform
from devstore.options import InvalidShop, parse_shop
from devstore.server import serving
from devstore.spec import ShopSpec
from devstore.woocommerce.quirks import WooQuirk
from tests.unit.devstore.conftest import Client, Reply, client_session, recorded

DOMAIN = "odd.example"
PRODUCTS = "wc/v3/products?per_page=1&_fields=id"


@asynccontextmanager
async def quirky_client(tls_dir: Path, *quirks: WooQuirk, **spec: Any) -> AsyncIterator[Client]:
    shop = ShopSpec(
        platform=Platform.WOOCOMMERCE, domain=DOMAIN, products=60, woo_quirks=frozenset(quirks), **spec
    )
    async with serving([shop], tls_dir=tls_dir) as store, client_session(store) as session:
        yield Client(store=store, session=session)


async def get_path(client: Client, address: str, **options: Any) -> Reply:
    """Request any path of the shop with its keys."""
    keys = client.store.credentials(DOMAIN)
    basic = aiohttp.encode_basic_auth(keys["consumer_key"], keys["consumer_secret"])
    url = f"{client.store.base_url(DOMAIN)}{address}"
    return await client.send("GET", url, headers={"Authorization": basic}, **options)


def kind(reply: Reply) -> str:
    return reply.headers["Content-Type"].partition(";")[0]


async def test_with_a_stripped_header_only_keys_in_the_query_are_accepted(tls_dir: Path) -> None:
    async with quirky_client(tls_dir, WooQuirk.STRIPPED_AUTHORIZATION) as client:
        rejected = await client.woo(PRODUCTS, domain=DOMAIN)
        assert (rejected.status, rejected.body) == (401, recorded("auth-none")["response"]["body_json"])
        keys = client.store.credentials(DOMAIN)
        query = f"&consumer_key={keys['consumer_key']}&consumer_secret={keys['consumer_secret']}"
        assert (await client.woo(PRODUCTS + query, domain=DOMAIN)).status == 200


async def test_with_plain_permalinks_the_api_is_only_in_the_query(tls_dir: Path) -> None:
    async with quirky_client(tls_dir, WooQuirk.PLAIN_PERMALINKS) as client:
        home = await get_path(client, "/wp-json/")
        assert (home.status, kind(home)) == (200, "text/html")
        moved = await get_path(client, f"/wp-json/{PRODUCTS}", allow_redirects=False)
        expected = dict(recorded("plain-permalinks-wp-json")["response"]["headers"])
        assert moved.status == 301
        assert moved.headers["Location"].endswith("/wp-json/wc/v3/products/?per_page=1&_fields=id")
        assert moved.headers["X-Redirect-By"] == expected["X-Redirect-By"]
        assert (await get_path(client, "/?rest_route=/")).body["name"] == "Odd"


async def test_keys_are_ignored_unless_the_api_path_is_in_the_request_line(client: Client) -> None:
    url = f"{client.store.base_url('old.example')}/?rest_route=/wc/v3/products&per_page=1&_fields=id"
    keys = client.store.credentials("old.example")
    basic = {"Authorization": aiohttp.encode_basic_auth(keys["consumer_key"], keys["consumer_secret"])}
    rejected = await client.send("GET", url, headers=basic)
    expected = recorded("auth-rest-route-form")["response"]
    assert (rejected.status, rejected.body) == (expected["status"], expected["body_json"])
    assert (await client.send("GET", f"{url}&x=wp-json/wc/", headers=basic)).status == 200


async def test_without_rewriting_the_api_is_below_index_php(tls_dir: Path) -> None:
    async with quirky_client(tls_dir, WooQuirk.NO_REWRITING) as client:
        assert (await get_path(client, f"/wp-json/{PRODUCTS}")).status == 404
        assert (await get_path(client, f"/index.php/wp-json/{PRODUCTS}")).status == 200


async def test_both_lists_of_all_variations_can_be_missing(tls_dir: Path) -> None:
    async with quirky_client(tls_dir, WooQuirk.NO_BULK_VARIATIONS) as client:
        for route in ("wc/v3/variations", "wc-analytics/variations"):
            reply = await client.woo(route, domain=DOMAIN)
            assert (reply.status, reply.body["code"]) == (404, "rest_no_route")


async def test_stale_variations_are_in_lists_of_all_variations_and_in_no_product(tls_dir: Path) -> None:
    async with quirky_client(tls_dir, WooQuirk.STALE_VARIATIONS) as client:
        parent = client.catalog(DOMAIN).edge_case("inherited-sku")
        stale = {variant.id for variant in parent.variants}
        client.catalog(DOMAIN).update_product(parent.id, kind=Kind.SIMPLE)
        for route in ("wc/v3/variations", "wc-analytics/variations"):
            path = f"{route}?per_page=100&orderby=id&order=desc&_fields=id,parent_id"
            rows = (await client.woo(path, domain=DOMAIN)).body
            assert rows[0]["parent_id"] == 0
            found = [row["id"] for row in rows]
            page = 2
            while rows:
                rows = (await client.woo(f"{path}&page={page}", domain=DOMAIN)).body
                found += [row["id"] for row in rows]
                page += 1
            assert stale <= set(found)
            assert len(found) == len(set(found))
        assert (await client.woo(f"wc/v3/products/{parent.id}", domain=DOMAIN)).body["variations"] == []
        assert not stale & {int(item.item_id) for item in client.catalog(DOMAIN).sellable_items()}


async def test_notices_and_byte_order_marks_precede_the_json(tls_dir: Path) -> None:
    async with quirky_client(tls_dir, WooQuirk.NOTICES, WooQuirk.BYTE_ORDER_MARK) as client:
        reply = await client.woo(PRODUCTS, domain=DOMAIN)
    assert (reply.status, kind(reply)) == (200, "text/html")
    notice, mark, json_text = reply.raw.partition(b"\xef\xbb\xbf")
    assert b"<b>Warning</b>" in notice
    assert mark
    assert json_text.startswith(b"[{")


async def test_a_firewall_answers_everything_with_a_page_and_200(tls_dir: Path) -> None:
    async with quirky_client(tls_dir, WooQuirk.WEB_PAGE) as client:
        for path in (PRODUCTS, ""):
            reply = await client.woo(path, domain=DOMAIN)
            assert (reply.status, kind(reply)) == (200, "text/html")


async def test_the_index_has_the_other_home(tls_dir: Path) -> None:
    async with quirky_client(tls_dir, WooQuirk.OTHER_HOME) as client:
        assert (await client.woo("", domain=DOMAIN)).body["home"] == f"https://www.{DOMAIN}/shop"


async def test_stock_can_change_without_a_date(tls_dir: Path) -> None:
    async with quirky_client(tls_dir) as client:
        product = client.catalog(DOMAIN).edge_case("sale")
        client.catalog(DOMAIN).update_product(product.id, touch=False, stock=4711)
        path = f"wc/v3/products/{product.id}?_fields=stock_quantity,date_modified_gmt"
        shown = (await client.woo(path, domain=DOMAIN)).body
    assert shown["stock_quantity"] == 4711
    assert shown["date_modified_gmt"] == f"{product.updated:%Y-%m-%dT%H:%M:%S}"


async def test_the_weight_unit_is_a_setting(tls_dir: Path) -> None:
    async with quirky_client(tls_dir, weight_unit="lbs") as client:
        actual = (await client.woo("wc/v3/settings/products/woocommerce_weight_unit", domain=DOMAIN)).body
    expected = recorded("settings-weight-unit")["response"]["body_json"]
    assert actual["value"] == "lbs"
    assert {**actual, "value": "kg", "_links": {}} == {**expected, "_links": {}}


async def test_a_shared_host_rejects_too_many_concurrent_requests(tls_dir: Path) -> None:
    async with quirky_client(tls_dir, workers=1, work_ms=20) as client:
        replies = await asyncio.gather(*(client.woo(PRODUCTS, domain=DOMAIN) for _ in range(5)))
    assert sorted(reply.status for reply in replies) == [200, 200, 200, 503, 503]


def test_quirks_can_be_set_on_the_command_line() -> None:
    text = "woocommerce:odd.example:woo_quirks=notices+plain-permalinks,workers=2,work_ms=30,weight_unit=oz"
    spec = parse_shop(text, seed=7)
    assert spec.woo_quirks == {WooQuirk.NOTICES, WooQuirk.PLAIN_PERMALINKS}
    assert (spec.workers, spec.work_ms, spec.weight_unit) == (2, 30, "oz")
    with pytest.raises(InvalidShop, match="notices"):
        parse_shop("woocommerce:odd.example:woo_quirks=rain", seed=7)
    with pytest.raises(InvalidShop, match="kg"):
        parse_shop("woocommerce:odd.example:weight_unit=stone", seed=7)
