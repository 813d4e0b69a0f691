"""Products and items as clients read them: whole products, filters, order and pages."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.connector.v1 import connector_service_pb2 as connector

from catalog_svc.domain.catalog_reads import (
    Item,
    ItemCursor,
    ItemFilter,
    Product,
    ProductCursor,
    ProductFilter,
)
from catalog_svc.domain.errors import ItemNotFound, PositionExpired, ProductNotFound
from catalog_svc.rpc import catalog_pages, convert_catalog
from catalog_svc.rpc.page_tokens import PageTokens
from tests.fakes.product_source import MemorySource, product
from tests.integration.catalog_svc.conftest import SHOP, CatalogWorld


def full_product(product_id: str) -> connector.Product:
    """Return a product that has every field, with three items that are not in the order of their ids."""
    value = product(product_id, items=3, title="Shirt <b>")
    value.handle, value.description_html, value.vendor, value.product_type = "shirt", "<p>Warm</p>", "Acme", "Tops"
    value.tags.extend(["red", "new"])
    value.url = "https://shop.example/shirt"
    value.options.add(name="Size", values=["S", "M", "L"])
    value.images.add(id="i1", url="https://cdn.example/1.jpg", alt_text="Front", width=800, height=600)
    for variant, position in zip(value.variants, (3, 1, 2), strict=True):
        variant.position = position
        variant.options.add(name="Size", value="SML"[position - 1])
    return value


async def synced(world: CatalogWorld, *products: connector.Product) -> None:
    await world.sync(MemorySource(products))


async def all_items(world: CatalogWorld, which: ItemFilter, *, limit: int = 2) -> list[Item]:
    """Return the items of all pages."""
    found: list[Item] = []
    cursor: ItemCursor | None = None
    while True:
        page = await world.reader().items(SHOP, which, incarnation="", after=cursor, limit=limit)
        found += page.items
        assert (page.position is None) == (page.next is not None)
        if page.next is None:
            return found
        assert len(page.items) == limit
        cursor = page.next


async def all_products(world: CatalogWorld, which: ProductFilter, *, limit: int = 2) -> list[Product]:
    """Return the products of all pages."""
    found: list[Product] = []
    cursor: ProductCursor | None = None
    while True:
        page = await world.reader().products(SHOP, which, after=cursor, limit=limit)
        found += page.products
        if not page.more:
            return found
        cursor = ProductCursor(incarnation=page.incarnation, product_id=page.products[-1].product_id)


def ids(found: Sequence[Item]) -> list[str]:
    return [item.item_id for item in found]


async def test_a_product_has_all_its_fields_and_its_items_in_the_platforms_order(world: CatalogWorld) -> None:
    await synced(world, full_product("1"), product("2"))
    message = convert_catalog.product(await world.reader().product(SHOP, "1"))
    assert [item.item_id for item in message.items] == ["1-2", "1-3", "1-1"]
    assert [item.options[0].value for item in message.items] == ["S", "M", "L"]
    assert {item.product_title for item in message.items} == {"Shirt <b>"}
    assert (message.title, message.handle, message.description_html) == ("Shirt <b>", "shirt", "<p>Warm</p>")
    assert (message.vendor, message.product_type, message.url) == ("Acme", "Tops", "https://shop.example/shirt")
    assert list(message.tags) == ["red", "new"]
    assert list(message.options) == [pb.ProductOption(name="Size", values=["S", "M", "L"])]
    image = pb.ProductImage(
        image_id="i1", url="https://cdn.example/1.jpg", alt_text="Front", width=800, height=600
    )
    assert list(message.images) == [image]
    assert message.HasField("create_time")
    assert not message.HasField("delete_time")


async def test_an_unknown_product_or_item_is_not_found(world: CatalogWorld) -> None:
    await synced(world, product("1"))
    with pytest.raises(ProductNotFound):
        await world.reader().product(SHOP, "2")
    with pytest.raises(ItemNotFound):
        await world.reader().item(SHOP, "1-2")


async def test_a_product_lists_no_deleted_items_unless_it_is_deleted_itself(world: CatalogWorld) -> None:
    await synced(world, product("1", items=3), product("2", items=2), product("3"))
    await synced(world, product("1", items=2), product("3"))
    live = await world.reader().product(SHOP, "1")
    assert (live.deleted_at, ids(live.items)) == (None, ["1-1", "1-2"])
    deleted = await world.reader().product(SHOP, "2")
    assert deleted.deleted_at is not None
    assert [(item.item_id, item.deleted_at is not None) for item in deleted.items] == [
        ("2-1", True),
        ("2-2", True),
    ]
    assert [p.product_id for p in await all_products(world, ProductFilter())] == ["1", "3"]
    listed = await all_products(world, ProductFilter(include_deleted=True))
    assert [(p.product_id, ids(p.items)) for p in listed] == [
        ("1", ["1-1", "1-2"]),
        ("2", ["2-1", "2-2"]),
        ("3", ["3-1"]),
    ]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
async def test_pages_of_products_hold_each_product_once_with_all_its_items(
    world: CatalogWorld, limit: int
) -> None:
    await synced(world, *(product(f"{n:02}", items=1 + n % 4) for n in range(10)))
    listed = await all_products(world, ProductFilter(), limit=limit)
    assert [(p.product_id, len(p.items)) for p in listed] == [(f"{n:02}", 1 + n % 4) for n in range(10)]


async def test_a_page_of_products_ends_at_a_mebibyte_and_has_at_least_one_product(world: CatalogWorld) -> None:
    """Clients refuse messages of more than 4 MiB, and the service must not hold 250 products of any size."""
    large = [product(f"{n}", items=1_000 if n % 2 else 1) for n in range(6)]
    for value in large:
        value.description_html = "x" * (900_000 if value.id == "4" else 100_000)
    await synced(world, *large)
    page = await world.reader().products(SHOP, ProductFilter(), after=None, limit=250)
    assert 1 <= len(page.products) < 6
    assert page.more
    pages, token = [], ""
    filters, tokens = catalog_pages.product_filters(SHOP, ProductFilter()), PageTokens(b"k" * 32)
    while True:
        cursor = catalog_pages.product_cursor(tokens, token, filters)
        page = await world.reader().products(SHOP, ProductFilter(), after=cursor, limit=250)
        message = catalog_pages.product_page(tokens, page, filters)
        assert len(message.products) == 1 or message.ByteSize() < 2**20 + 1_000
        pages.append([(p.product_id, len(p.items)) for p in message.products])
        token = message.next_page_token
        if not token:
            break
    assert [p for page in pages for p in page] == [(f"{n}", 1_000 if n % 2 else 1) for n in range(6)]


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_items_are_listed_by_product_or_after_a_position(world: CatalogWorld, limit: int) -> None:
    await synced(world, product("b", items=2), product("a", items=3))
    by_product = await all_items(world, ItemFilter(), limit=limit)
    assert ids(by_product) == ["a-1", "a-2", "a-3", "b-1", "b-2"]
    start = by_product[0].feed_position
    await synced(world, product("b", items=2, title="Other"), product("a", items=2), product("c"))
    changed = await all_items(world, ItemFilter(after_position=start, include_deleted=True), limit=limit)
    assert ids(changed) == ["a-3", "b-1", "b-2", "c-1"]
    assert [item.feed_position for item in changed] == sorted(item.feed_position for item in changed)
    assert ids(await all_items(world, ItemFilter(after_position=start), limit=limit)) == ["b-1", "b-2", "c-1"]
    everything = await all_items(world, ItemFilter(include_deleted=True), limit=limit)
    assert ids(everything) == ["a-1", "a-2", "a-3", "b-1", "b-2", "c-1"]


async def test_filters_of_items_apply_together(world: CatalogWorld) -> None:
    await synced(world, product("1", items=2, sku="X"), product("2", items=2, sku="X"), product("3", sku="Y"))
    position = (await world.reader().item(SHOP, "3-1")).feed_position
    await synced(world, product("1", items=1, sku="X"), product("2", items=2, sku="X"), product("3", sku="X"))
    for which, expected in {
        ItemFilter(sku="X"): ["1-1", "2-1", "2-2", "3-1"],
        ItemFilter(sku="X", include_deleted=True): ["1-1", "1-2", "2-1", "2-2", "3-1"],
        ItemFilter(sku="X", product_id="2"): ["2-1", "2-2"],
        ItemFilter(sku="X", after_position=position): ["3-1"],
        ItemFilter(sku="X", after_position=position, include_deleted=True): ["1-2", "3-1"],
        ItemFilter(product_id="1", after_position=position, include_deleted=True): ["1-2"],
        ItemFilter(sku="Y"): [],
    }.items():
        assert ids(await all_items(world, which, limit=1)) == expected, which


async def test_an_item_of_a_list_has_its_position(world: CatalogWorld) -> None:
    await synced(world, product("1"))
    item = await world.reader().item(SHOP, "1-1")
    (state,) = await world.rows("SELECT feed_position FROM shop_state")
    assert convert_catalog.item(item).feed_position == item.feed_position == state["feed_position"] > 0


async def test_a_page_token_of_another_registration_of_the_shop_is_expired(world: CatalogWorld) -> None:
    """Its first pages were those of another catalog."""
    await synced(world, product("1", items=2), product("2"))
    items = await world.reader().items(SHOP, ItemFilter(), incarnation="", after=None, limit=1)
    products = await world.reader().products(SHOP, ProductFilter(), after=None, limit=1)
    await world.execute("UPDATE shop_state SET incarnation = gen_random_uuid()")
    with pytest.raises(PositionExpired):
        await world.reader().items(SHOP, ItemFilter(), incarnation="", after=items.next, limit=1)
    cursor = ProductCursor(incarnation=products.incarnation, product_id="1")
    with pytest.raises(PositionExpired):
        await world.reader().products(SHOP, ProductFilter(), after=cursor, limit=1)
