"""Text search: what it finds, and what happens where the database cannot search."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product as combinations

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from catalog_svc.domain.catalog_reads import Item, ItemCursor, ItemFilter, ProductFilter
from catalog_svc.domain.errors import TextSearchUnavailable
from catalog_svc.domain.shop import Shop
from catalog_svc.storage.database import Database
from catalog_svc.storage.items import ItemStore
from catalog_svc.storage.product_reads import ProductStore
from catalog_svc.storage.schema import migrate
from catalog_svc.storage.text_search import EXTENSIONS, INDEXES
from tests.conftest import execute, superuser_url
from tests.fakes.product_source import MemorySource, product
from tests.integration.catalog_svc.conftest import SHOP, CatalogWorld

PARTS = ("Shirt", "sHIRT", "red", "100%", "a_b", "back\\slash", "'quoted'", "zzzqqq", "Größe")
TITLES = (
    "Red Shirt",
    "Blouse 100%",
    "Blouse 1000",
    "a_b",
    "axb",
    "back\\slash",
    "'quoted'",
    "GRÖSSE größe",
    "Hat",
)


@pytest.fixture
def database_url(direct_database_url: str) -> str:
    """Return the URL of a new database; `migrate` never goes through a pooler."""
    return direct_database_url


@pytest.fixture
async def searchable(world: CatalogWorld) -> CatalogWorld:
    """A database that can search, or the test is skipped."""
    names = {row["name"] for row in await world.rows("SELECT name FROM pg_available_extensions")}
    if not names.issuperset(EXTENSIONS):
        pytest.skip("the PostgreSQL server of the tests has no pg_trgm and btree_gin")
    return world


async def indexes(world: CatalogWorld) -> set[str]:
    rows = await world.rows("SELECT indexname FROM pg_indexes WHERE indexname LIKE '%trgm'")
    return {row["indexname"] for row in rows}


async def without_extension(engine: AsyncEngine) -> None:
    """Bring the database into the state of one whose server has no contrib modules."""
    async with engine.begin() as connection:
        for name in EXTENSIONS:
            await connection.execute(text(f"DROP EXTENSION IF EXISTS {name} CASCADE"))


async def search(world: CatalogWorld, part: str) -> list[str]:
    page = await world.reader().items(SHOP, ItemFilter(text=part), incarnation="", after=None, limit=10)
    return [item.item_id for item in page.items]


async def test_without_the_extension_a_search_is_refused_by_its_name(
    world: CatalogWorld, owner_engine: AsyncEngine
) -> None:
    await without_extension(owner_engine)
    await world.sync(MemorySource([product("1")]))
    with pytest.raises(TextSearchUnavailable, match="pg_trgm"):
        await search(world, "shirt")
    with pytest.raises(TextSearchUnavailable, match="pg_trgm"):
        await world.reader().products(SHOP, ProductFilter(text="shirt"), after=None, limit=10)
    page = await world.reader().items(SHOP, ItemFilter(), incarnation="", after=None, limit=10)
    assert len(page.items) == 1


async def test_a_later_migrate_creates_the_indexes_when_the_extension_has_appeared(
    searchable: CatalogWorld, owner_engine: AsyncEngine
) -> None:
    await without_extension(owner_engine)
    await searchable.sync(MemorySource([product("1"), product("2", title="Blouse")]))
    with pytest.raises(TextSearchUnavailable):
        await search(searchable, "shirt")
    await migrate(owner_engine, text_search=True)
    assert await indexes(searchable) == set(INDEXES)
    assert await search(searchable, "shirt") == ["1-1"]


async def test_an_index_whose_creation_was_interrupted_is_not_used_and_created_anew(
    searchable: CatalogWorld, owner_engine: AsyncEngine
) -> None:
    await searchable.sync(MemorySource([product("1")]))
    await execute(
        superuser_url(owner_engine),
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = CAST('item_title_trgm' AS regclass)",
    )
    with pytest.raises(TextSearchUnavailable, match="run `migrate`"):
        await search(searchable, "shirt")
    await migrate(owner_engine, text_search=True)
    assert await search(searchable, "shirt") == ["1-1"]


async def test_who_does_not_want_to_search_drops_the_indexes(
    searchable: CatalogWorld, owner_engine: AsyncEngine
) -> None:
    await searchable.sync(MemorySource([product("1")]))
    await migrate(owner_engine, text_search=False)
    assert await indexes(searchable) == set()
    with pytest.raises(TextSearchUnavailable, match="run `migrate`"):
        await search(searchable, "shirt")
    await migrate(owner_engine, text_search=True)
    assert await indexes(searchable) == set(INDEXES)


@pytest.mark.parametrize(
    "window", [1, 7, 3_000], ids=["by index", "by index after a while", "in the order of the list"]
)
async def test_a_search_finds_exactly_the_titles_that_contain_the_text(
    searchable: CatalogWorld, window: int
) -> None:
    """Whichever way it goes, with every other filter, and page by page."""
    shop = await changed_shop(searchable)
    items = ItemStore(Database(searchable.engine), text_window=window)
    everything = {
        (deleted, position): await all_items(
            items, shop, ItemFilter(include_deleted=deleted, after_position=position), limit=100
        )
        for deleted, position in combinations((False, True), (0, 1, 2))
    }
    for part, limit, (filters, found) in combinations(PARTS, (2, 100), everything.items()):
        include_deleted, position = filters
        which = ItemFilter(text=part, include_deleted=include_deleted, after_position=position)
        expected = [item.item_id for item in found if contains(item, part)]
        assert [item.item_id for item in await all_items(items, shop, which, limit=limit)] == expected, which
    sku = ItemFilter(text="shirt", sku="SKU-1", product_id="03")
    assert [item.product_id for item in await all_items(items, shop, sku, limit=2)] == []


@pytest.mark.parametrize("window", [1, 7, 3_000])
async def test_a_search_finds_products_by_their_title(searchable: CatalogWorld, window: int) -> None:
    shop = await changed_shop(searchable)
    products = ProductStore(Database(searchable.engine), text_window=window)
    for part, include_deleted in combinations(PARTS, (False, True)):
        _, everything, _ = await products.page(
            shop, ProductFilter(include_deleted=include_deleted), after="", limit=100
        )
        expected = [p.product_id for p in everything if part.lower() in p.title.lower()]
        found, after, more = list[str](), "", True
        while more:
            which = ProductFilter(text=part, include_deleted=include_deleted)
            _, page, more = await products.page(shop, which, after=after, limit=2)
            found += [p.product_id for p in page]
            after = found[-1] if found else ""
        assert found == expected, part


async def changed_shop(world: CatalogWorld) -> Shop:
    """Return a shop whose products and items have all titles; some of them are deleted or changed."""
    titles = [TITLES[number % len(TITLES)] for number in range(20)]
    products = [product(f"{number:02}", items=2, title=title) for number, title in enumerate(titles)]
    for number, value in enumerate(products):
        value.variants[1].title = TITLES[(number + 3) % len(TITLES)]
    await world.sync(MemorySource(products))
    products[3].title = "Red Shirt"
    await world.sync(MemorySource(products[:8] + products[10:]))
    shop = await world.shops.find(SHOP)
    assert shop is not None
    return shop


def contains(item: Item, part: str) -> bool:
    return part.lower() in item.title.lower() or part.lower() in item.product_title.lower()


async def all_items(items: ItemStore, shop: Shop, which: ItemFilter, *, limit: int) -> Sequence[Item]:
    found: list[Item] = []
    cursor: ItemCursor | None = None
    while True:
        feed, page = await items.page(shop, which, after=cursor, limit=limit)
        found += page
        if len(page) < limit:
            return found
        cursor = ItemCursor(
            incarnation=feed.incarnation,
            start_position=feed.position,
            feed_position=page[-1].feed_position,
            product_id=page[-1].product_id,
            item_id=page[-1].item_id,
        )
