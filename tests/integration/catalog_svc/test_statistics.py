"""Tables are analyzed right after a first load, and not again after every small change."""

from __future__ import annotations

from tests.fakes.product_source import MemorySource, product
from tests.integration.catalog_svc.conftest import CatalogWorld


async def known_items(world: CatalogWorld) -> float:
    """Return the row count that the planner knows; -1: never analyzed."""
    await world.execute("ALTER TABLE item SET (autovacuum_enabled = off)")
    (row,) = await world.rows("SELECT reltuples FROM pg_class WHERE relname = 'item'")
    return float(row["reltuples"])


def shop_of(products: int) -> MemorySource:
    return MemorySource([product(str(n), items=3) for n in range(products)])


async def test_the_planner_knows_the_size_of_a_first_load_at_its_end(world: CatalogWorld) -> None:
    assert await known_items(world) == -1
    await world.sync(shop_of(20))
    assert await known_items(world) == 60


async def test_little_growth_is_left_to_autovacuum(world: CatalogWorld) -> None:
    await world.sync(shop_of(20))
    await world.sync(shop_of(30))
    assert await known_items(world) == 60


async def test_a_table_that_has_doubled_is_analyzed_again(world: CatalogWorld) -> None:
    await world.sync(shop_of(20))
    await world.sync(shop_of(50))
    assert await known_items(world) == 150
