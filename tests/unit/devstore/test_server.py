"""A running devstore: several shops, changes while it runs, faults, counters and the control API."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from devstore.catalog.model import Platform
from devstore.server import serving
from devstore.spec import ShopSpec
from tests.unit.devstore.conftest import SHOPS, Client, client_session

SHOP, STORE = "demo.myshopify.com", "new.example"


@pytest.fixture
async def client(tls_dir: Path) -> AsyncIterator[Client]:
    """A client of a store that the test may change."""
    async with serving(SHOPS, tls_dir=tls_dir) as store, client_session(store) as session:
        yield Client(store=store, session=session)


async def test_a_change_is_visible_to_the_next_request(client: Client) -> None:
    product = client.catalog(SHOP).edge_case("trailing-zeros")
    client.catalog(SHOP).update_variant(product.variants[0].id, price="21.50")
    query = f'{{productVariant(id: "gid://shopify/ProductVariant/{product.variants[0].id}"){{price}}}}'
    assert (await client.data(query))["productVariant"] == {"price": "21.50"}


async def test_keyset_pages_survive_deletions_and_insertions(client: Client) -> None:
    query = """query($after: String){products(first: 10, after: $after){
        nodes{id} pageInfo{hasNextPage endCursor}}}"""
    before = [f"gid://shopify/Product/{product.id}" for product in client.catalog(SHOP).products()]
    page = (await client.data(query))["products"]
    client.catalog(SHOP).delete_product(next(client.catalog(SHOP).products()).id)
    added = client.catalog(SHOP).add_product(title="New")
    seen = [node["id"] for node in page["nodes"]]
    while page["pageInfo"]["hasNextPage"]:
        page = (await client.data(query, after=page["pageInfo"]["endCursor"]))["products"]
        seen += [node["id"] for node in page["nodes"]]
    assert seen == [*before, f"gid://shopify/Product/{added.id}"]


async def test_offset_pages_lose_a_row_when_one_is_trashed(client: Client) -> None:
    path = "wc/v3/products?per_page=10&orderby=id&order=asc&_fields=id&page="
    first = [row["id"] for row in (await client.woo(path + "1", domain=STORE)).body]
    expected = [row["id"] for row in (await client.woo(path + "2", domain=STORE)).body]
    client.catalog(STORE).trash_product(first[0])
    second = [row["id"] for row in (await client.woo(path + "2", domain=STORE)).body]
    assert second == [*expected[1:], second[-1]]
    assert expected[0] not in second


async def test_the_next_requests_can_be_made_to_fail(client: Client) -> None:
    client.store.fail_next(
        STORE, 2, status=503, body="<p>busy", content_type="text/html", headers={"Retry-After": "7"}
    )
    replies = [await client.woo("wc/v3/products?per_page=1", domain=STORE) for _ in range(3)]
    assert [reply.status for reply in replies] == [503, 503, 200]
    assert (replies[0].raw, replies[0].headers["Retry-After"]) == (b"<p>busy", "7")
    assert (await client.graphql("{shop{name}}")).status == 200


async def test_requests_are_counted_without_their_keys(client: Client) -> None:
    keys = client.store.credentials(STORE)
    await client.woo(f"wc/v3/products?per_page=1&consumer_secret={keys['consumer_secret']}", domain=STORE)
    await client.graphql("query Listing{products(first: 1){nodes{id}}}")
    log = client.store.requests(STORE)
    assert (log.calls, dict(log.by_operation)) == (1, {"products": 1})
    assert log.recent[0].query == {"per_page": "1"}
    assert dict(client.store.requests(SHOP).by_operation) == {"Listing": 1}
    assert client.store.requests(SHOP).points == 3
    log.reset()
    assert log.calls == 0


async def test_the_control_api_serves_the_oracle_and_the_counters(client: Client) -> None:
    await client.graphql("{shop{name}}")
    lines = (await client.send("GET", f"{client.store.url}/_control/{SHOP}/truth")).raw.splitlines()
    oracle = list(client.catalog(SHOP).sellable_items())
    assert [json.loads(line)["item_id"] for line in lines] == [item.item_id for item in oracle]
    assert json.loads(lines[0])["price"] == str(oracle[0].price)
    stats = (await client.send("GET", f"{client.store.url}/_control/{SHOP}/stats")).body
    assert (stats["calls"], stats["products"]) == (1, 60)


async def test_an_unknown_domain_is_not_found(client: Client) -> None:
    assert (await client.send("GET", f"{client.store.url}/other.example/wp-json/")).status == 404


async def test_empty_shops_answer(tls_dir: Path) -> None:
    shops = [
        ShopSpec(platform=Platform.SHOPIFY, domain="empty.myshopify.com", products=0),
        ShopSpec(platform=Platform.WOOCOMMERCE, domain="empty.example", products=0),
    ]
    async with serving(shops, tls_dir=tls_dir) as store, client_session(store) as session:
        client = Client(store=store, session=session)
        query = "{products(first: 5){nodes{id} pageInfo{hasNextPage endCursor}} productsCount{count}}"
        data = await client.data(query, domain="empty.myshopify.com")
        assert data["products"] == {"nodes": [], "pageInfo": {"hasNextPage": False, "endCursor": None}}
        reply = await client.woo("wc/v3/products", domain="empty.example")
        assert (reply.body, reply.headers["X-WP-TotalPages"]) == ([], "0")


async def test_two_shops_cannot_share_a_domain(tls_dir: Path) -> None:
    with pytest.raises(ValueError, match="share the domain"):
        async with serving([SHOPS[0], SHOPS[0]], tls_dir=tls_dir):
            pass


def test_certificates_are_created_once(tls_dir: Path) -> None:
    from devstore.tls import ensure_certificates

    first = ensure_certificates(tls_dir / "twice").ca.read_bytes()
    assert ensure_certificates(tls_dir / "twice").ca.read_bytes() == first
