"""Variations of the WooCommerce API."""

from __future__ import annotations

from typing import Any

from tests.unit.devstore.conftest import Client

OLD, NEW = "old.example", "new.example"


async def variations(client: Client, edge_case: str, query: str = "") -> list[dict[str, Any]]:
    parent = client.catalog(OLD).edge_case(edge_case)
    path = f"wc/v3/products/{parent.id}/variations?per_page=100&orderby=id&order=asc{query}"
    rows: list[dict[str, Any]] = (await client.woo(path)).body
    return rows


async def test_130_variations_are_two_pages(client: Client) -> None:
    first, second = (
        await variations(client, "variations-130"),
        await variations(client, "variations-130", "&page=2"),
    )
    assert [len(first), len(second)] == [100, 30]
    parent = client.catalog(OLD).edge_case("variations-130")
    shown = (await client.woo(f"wc/v3/products/{parent.id}")).body
    assert [row["id"] for row in first + second] == shown["variations"]


async def test_a_variation_without_a_sku_shows_its_parents_sku(client: Client) -> None:
    rows = await variations(client, "inherited-sku")
    assert rows[0]["sku"] == client.catalog(OLD).edge_case("inherited-sku").sku
    assert rows[1]["sku"] != rows[0]["sku"]


async def test_the_parent_can_track_the_stock(client: Client) -> None:
    rows = await variations(client, "parent-stock")
    assert (rows[0]["manage_stock"], rows[0]["stock_quantity"]) == ("parent", 17)
    assert rows[1]["manage_stock"] is True


async def test_a_disabled_variation_is_listed_as_private_without_a_price(client: Client) -> None:
    rows = await variations(client, "disabled-variation")
    assert (rows[0]["status"], rows[0]["price"], rows[0]["purchasable"]) == ("private", "", False)


async def test_context_edit_shows_no_inherited_image(client: Client) -> None:
    parent = client.catalog(OLD).edge_case("variations-130")
    bare = [variant.id for variant in parent.variants[:100] if variant.image_id is None]
    assert bare
    seen = {row["id"]: row["image"] for row in await variations(client, "variations-130")}
    own = {row["id"]: row["image"] for row in await variations(client, "variations-130", "&context=edit")}
    assert all(seen[i] is not None and own[i] is None for i in bare)


async def test_variations_of_a_simple_or_unknown_product_are_an_empty_list(client: Client) -> None:
    simple = client.catalog(OLD).edge_case("sale")
    for number in (simple.id, 999_999):
        reply = await client.woo(f"wc/v3/products/{number}/variations")
        assert (reply.status, reply.body, reply.headers["X-WP-Total"]) == (200, [], "0")


async def test_variations_of_a_trashed_product_are_in_the_trash(client: Client) -> None:
    assert await variations(client, "trashed-variable") == []
    assert len(await variations(client, "trashed-variable", "&status=trash")) == 2


async def test_the_parent_in_the_url_is_not_checked(client: Client) -> None:
    catalog = client.catalog(OLD)
    variant = catalog.edge_case("variations-130").variants[0]
    reply = await client.woo(f"wc/v3/products/{catalog.edge_case('sale').id}/variations/{variant.id}?_fields=id")
    assert (reply.status, reply.body["id"]) == (200, variant.id)


async def test_every_list_of_all_variations_is_complete(client: Client) -> None:
    for domain, route in (
        (OLD, "wc-analytics/variations"),
        (NEW, "wc-analytics/variations"),
        (NEW, "wc/v3/variations"),
    ):
        items = [item for item in client.catalog(domain).sellable_items() if item.kind == "variation"]
        found: dict[str, str] = {}
        pages = -(-len(items) // 100)
        for page in range(1, pages + 1):
            path = f"{route}?per_page=100&orderby=id&order=asc&_fields=id,parent_id&page={page}"
            rows = (await client.woo(path, domain=domain)).body
            found |= {str(row["id"]): str(row["parent_id"]) for row in rows}
        assert found == {item.item_id: item.product_id for item in items}


async def test_analytics_accepts_several_parents(client: Client) -> None:
    catalog = client.catalog(OLD)
    parents = [catalog.edge_case(name).id for name in ("inherited-sku", "parent-stock")]
    path = f"wc-analytics/variations?parent={parents[0]},{parents[1]}&per_page=100&orderby=id"
    rows = (await client.woo(path)).body
    assert {row["parent_id"] for row in rows} == set(parents)
    assert len(rows) == 5
