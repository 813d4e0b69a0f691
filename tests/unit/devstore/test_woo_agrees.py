"""The WooCommerce face shows exactly what the oracle says."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tests.unit.devstore.conftest import Client

DOMAIN = "new.example"


async def pages(client: Client, route: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for page in range(1, 1_000):
        more = (await client.woo(f"{route}?per_page=100&orderby=id&order=asc&page={page}", domain=DOMAIN)).body
        rows += more
        if len(more) < 100:
            break
    return rows


async def test_the_lists_together_are_the_truth(client: Client) -> None:
    products = [row for row in await pages(client, "wc/v3/products") if row["type"] != "variable"]
    sold = products + await pages(client, "wc/v3/variations")
    shown = {
        (str(row["id"]), row["sku"], Decimal(row["price"]) if row["price"] else None, row["stock_quantity"])
        for row in sold
    }
    truth = {(i.item_id, i.sku, i.price, i.stock) for i in client.catalog(DOMAIN).sellable_items()}
    assert shown == truth
