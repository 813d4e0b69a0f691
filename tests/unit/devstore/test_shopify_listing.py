"""Lists of a Shopify shop: the pages together are the catalog."""

from __future__ import annotations

import base64
import json
from typing import Any

from tests.unit.devstore.conftest import Client

PRODUCTS = """query($after: String, $first: Int!, $reverse: Boolean, $sort: ProductSortKeys){
    products(first: $first, after: $after, sortKey: $sort, reverse: $reverse){
        nodes{id updatedAt} pageInfo{hasNextPage hasPreviousPage endCursor}}}"""
PRODUCT = """query($id: ID!, $first: Int!, $after: String){product(id: $id){
    variantsCount{count precision}
    variants(first: $first, after: $after){nodes{id} pageInfo{hasNextPage endCursor}}}}"""
DOMAIN = "demo.myshopify.com"


async def read_all(client: Client, first: int = 7, **variables: Any) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    after = None
    while True:
        page = (await client.data(PRODUCTS, after=after, first=first, **variables))["products"]
        rows += page["nodes"]
        if not page["pageInfo"]["hasNextPage"]:
            return rows
        after = page["pageInfo"]["endCursor"]


def gids(client: Client) -> list[str]:
    return [f"gid://shopify/Product/{product.id}" for product in client.catalog(DOMAIN).products()]


async def test_the_pages_together_are_all_products_sorted_by_id(client: Client) -> None:
    assert [row["id"] for row in await read_all(client)] == gids(client)


async def test_reverse_lists_the_same_products_backwards(client: Client) -> None:
    assert [row["id"] for row in await read_all(client, reverse=True)] == gids(client)[::-1]


async def test_products_can_be_sorted_by_modification_time(client: Client) -> None:
    rows = await read_all(client, sort="UPDATED_AT")
    assert sorted(row["id"] for row in rows) == sorted(gids(client))
    assert [row["updatedAt"] for row in rows] == sorted(row["updatedAt"] for row in rows)


async def test_a_page_can_be_read_backwards_from_its_cursor(client: Client) -> None:
    query = """query($before: String){products(last: 3, before: $before){
        edges{cursor node{id}} pageInfo{hasPreviousPage startCursor}}}"""
    last = (await client.data(query))["products"]
    before = (await client.data(query, before=last["pageInfo"]["startCursor"]))["products"]
    ids = [edge["node"]["id"] for edge in before["edges"] + last["edges"]]
    assert ids == gids(client)[-6:]


async def test_a_cursor_is_a_keyset(client: Client) -> None:
    page = (await client.data(PRODUCTS, first=1))["products"]
    number = client.catalog(DOMAIN).spec and next(client.catalog(DOMAIN).products()).id
    cursor = json.loads(base64.b64decode(page["pageInfo"]["endCursor"]))
    assert cursor == {"last_id": number, "last_value": str(number)}


async def test_a_malformed_cursor_is_rejected(client: Client) -> None:
    body = (await client.graphql(PRODUCTS, first=1, after="bm9uc2Vuc2U=")).body
    assert body["errors"][0]["message"] == "Invalid cursor for current pagination sort."


async def test_a_page_of_more_than_250_is_rejected(client: Client) -> None:
    assert (await client.graphql(PRODUCTS, first=251)).body["errors"]


async def test_only_a_single_product_has_pages_of_more_than_250_variants(client: Client) -> None:
    big = client.catalog(DOMAIN).edge_case("variants-600")
    data = await client.data(PRODUCT, id=f"gid://shopify/Product/{big.id}", first=2048)
    assert len(data["product"]["variants"]["nodes"]) == 600
    assert data["product"]["variantsCount"] == {"count": 600, "precision": "EXACT"}
    nested = "{products(first: 1){nodes{variants(first: 2048){nodes{id}}}}}"
    assert (await client.graphql(nested)).body["errors"][0]["path"] == ["products", "nodes", 0, "variants"]


async def test_a_products_variants_are_paged_by_position(client: Client) -> None:
    big = client.catalog(DOMAIN).edge_case("variants-250")
    gid, seen, after = f"gid://shopify/Product/{big.id}", [], None
    while True:
        page = (await client.data(PRODUCT, id=gid, first=60, after=after))["product"]["variants"]
        seen += [node["id"] for node in page["nodes"]]
        if not page["pageInfo"]["hasNextPage"]:
            break
        after = page["pageInfo"]["endCursor"]
    assert seen == [f"gid://shopify/ProductVariant/{variant.id}" for variant in big.variants]


async def test_all_variants_of_the_shop_can_be_paged(client: Client) -> None:
    query = """query($after: String){productVariants(first: 250, after: $after){
        nodes{id product{id}} pageInfo{hasNextPage endCursor}}
        productVariantsCount(limit: null){count}}"""
    seen: list[str] = []
    data = await client.data(query)
    while data["productVariants"]["pageInfo"]["hasNextPage"]:
        seen += [node["id"] for node in data["productVariants"]["nodes"]]
        data = await client.data(query, after=data["productVariants"]["pageInfo"]["endCursor"])
    seen += [node["id"] for node in data["productVariants"]["nodes"]]
    assert sorted(seen) == sorted(item.item_gid for item in client.catalog(DOMAIN).sellable_items())
    assert data["productVariantsCount"]["count"] == len(seen)


async def test_nodes_returns_null_for_unknown_ids(client: Client) -> None:
    known, unknown = gids(client)[0], "gid://shopify/Product/1"
    data = await client.data("query($ids: [ID!]!){nodes(ids: $ids){id __typename}}", ids=[unknown, known])
    assert data["nodes"] == [None, {"id": known, "__typename": "Product"}]


async def test_more_than_250_ids_are_rejected(client: Client) -> None:
    query = "query($ids: [ID!]!){nodes(ids: $ids){id}}"
    body = (await client.graphql(query, ids=["gid://shopify/Product/1"] * 251)).body
    assert body["errors"][0]["extensions"]["code"] == "MAX_INPUT_SIZE_EXCEEDED"


async def test_a_count_stops_at_its_limit(client: Client) -> None:
    query = "{low: productsCount(limit: 5){count precision} all: productsCount{count precision}}"
    data = await client.data(query)
    assert data["low"] == {"count": 5, "precision": "AT_LEAST"}
    assert data["all"] == {"count": 60, "precision": "EXACT"}
