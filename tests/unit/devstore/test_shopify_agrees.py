"""The Shopify face shows exactly what the oracle says."""

from __future__ import annotations

from decimal import Decimal

from tests.unit.devstore.conftest import Client

QUERY = """query($after: String){products(first: 20, after: $after){
    pageInfo{hasNextPage endCursor}
    nodes{id status variants(first: 250){pageInfo{hasNextPage} nodes{
        id title sku price inventoryQuantity inventoryItem{tracked}}}}}}"""
REST = """query($id: ID!){product(id: $id){variants(first: 2048){nodes{
    id title sku price inventoryQuantity inventoryItem{tracked}}}}}"""


async def test_the_pages_together_are_the_truth(client: Client) -> None:
    shown: set[tuple[object, ...]] = set()
    after = None
    while True:
        page = (await client.data(QUERY, after=after))["products"]
        for product in page["nodes"]:
            variants = product["variants"]
            if variants["pageInfo"]["hasNextPage"]:
                variants = (await client.data(REST, id=product["id"]))["product"]["variants"]
            for variant in variants["nodes"]:
                tracked = variant["inventoryItem"]["tracked"]
                stock = variant["inventoryQuantity"] if tracked else None
                price = Decimal(variant["price"])
                shown.add((variant["id"], product["status"], variant["title"], variant["sku"] or "", price, stock))
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    items = client.catalog("demo.myshopify.com").sellable_items()
    assert shown == {(i.item_gid, i.status, i.title, i.sku, i.price, i.stock) for i in items}
