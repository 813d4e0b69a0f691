"""Tombstones are purged after their retention, items before their products; the feed then begins after them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from catalog_svc.domain.shop import ShopKey
from catalog_svc.storage.database import Database
from tests.fakes.product_source import MemorySource, product
from tests.integration.catalog_svc.conftest import CatalogWorld
from tests.integration.catalog_svc.purging import (
    OLD_DAYS,
    StepRecorder,
    age_tombstones,
    full_sync,
    purge,
    retention,
    store_of,
    values_of,
)

POLICY_DAYS = OLD_DAYS - 1
RETENTION = timedelta(days=POLICY_DAYS)


async def state(world: CatalogWorld) -> Mapping[Any, Any]:
    (row,) = await world.rows("SELECT * FROM shop_state")
    return row


async def oldest_tombstone(world: CatalogWorld) -> object:
    (row,) = await world.rows(
        """SELECT min(deleted_at) AS oldest FROM (
               SELECT deleted_at FROM item UNION ALL SELECT deleted_at FROM product) AS rows"""
    )
    return row["oldest"]


@pytest.mark.smoke
async def test_tombstones_are_purged_after_their_retention_and_live_rows_stay(world: CatalogWorld) -> None:
    await full_sync(world, ["1", "2", "3", "4"], items=2)
    await full_sync(world, ["3", "4"], items=2)
    await full_sync(world, ["3", "4"])
    await age_tombstones(world, days=POLICY_DAYS - 1)
    await purge(world)
    assert await values_of(world, "product", "product_id") == {"1", "2", "3", "4"}
    await age_tombstones(world, days=2, where="product_id = '1'")
    await purge(world)
    assert await values_of(world, "item", "item_id") == {"2-1", "2-2", "3-1", "3-2", "4-1", "4-2"}
    await age_tombstones(world, days=2, where="product_id <> '1'")
    await purge(world)
    assert await values_of(world, "item", "item_id") == {"3-1", "4-1"}
    assert await values_of(world, "product", "product_id") == {"3", "4"}


async def test_the_feed_begins_after_the_last_purged_position(world: CatalogWorld) -> None:
    await full_sync(world, ["1", "2", "3"])
    await full_sync(world, ["2", "3"])
    await full_sync(world, ["3"])
    rows = await world.rows("SELECT product_id, feed_position FROM product ORDER BY product_id")
    first, second, _ = (row["feed_position"] for row in rows)
    assert (await state(world))["feed_floor"] == 0
    await age_tombstones(world, where="product_id = '1'")
    await purge(world)
    assert (await state(world))["feed_floor"] == first
    await age_tombstones(world)
    await purge(world)
    assert first < second == (await state(world))["feed_floor"]
    assert (await state(world))["feed_position"] == second


async def test_the_floor_of_the_feed_rises_with_the_purge_or_nothing_is_purged(world: CatalogWorld) -> None:
    """A reader of the feed that is below the floor must be told; it would miss the deletions otherwise."""
    await full_sync(world, ["1"])
    await full_sync(world, [])
    await age_tombstones(world)
    await world.execute(
        """CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN RAISE EXCEPTION 'no floor'; END $$"""
    )
    await world.execute(
        "CREATE TRIGGER refuse BEFORE UPDATE OF feed_floor ON shop_state FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    with pytest.raises(DBAPIError, match="no floor"):
        await store_of(world).purge_deleted(older_than=RETENTION)
    assert await values_of(world, "item", "item_id") == {"1-1"}
    assert await values_of(world, "product", "product_id") == {"1"}


async def test_the_floor_never_falls(world: CatalogWorld) -> None:
    await full_sync(world, ["1"])
    await full_sync(world, [])
    await age_tombstones(world)
    await world.execute("UPDATE shop_state SET feed_floor = 1000")
    await purge(world)
    assert (await state(world))["feed_floor"] == 1000


async def test_the_shop_knows_its_oldest_tombstone(world: CatalogWorld) -> None:
    await full_sync(world, ["1", "2", "3"])
    assert (await state(world))["oldest_tombstone_at"] is None
    await full_sync(world, ["2", "3"])
    # A lower bound, since each deletion follows the beginning of its transaction.
    first = (await state(world))["oldest_tombstone_at"]
    assert first <= await oldest_tombstone(world)
    await full_sync(world, ["3"])
    assert (await state(world))["oldest_tombstone_at"] == first
    await age_tombstones(world, where="product_id = '1'")
    await purge(world)
    assert (await state(world))["oldest_tombstone_at"] == await oldest_tombstone(world) > first
    await age_tombstones(world)
    await purge(world)
    assert (await state(world))["oldest_tombstone_at"] is None


async def test_a_shop_whose_tombstones_are_all_live_again_is_looked_at_once(world: CatalogWorld) -> None:
    await full_sync(world, ["1", "2"])
    await full_sync(world, ["2"])
    await age_tombstones(world)
    await full_sync(world, ["1", "2"])
    assert (await state(world))["oldest_tombstone_at"] is not None
    store = StepRecorder(Database(world.engine), rows_per_purge=100)
    await retention(world, store).purge()
    assert len(store.deleted) == 2
    assert (await state(world))["oldest_tombstone_at"] is None
    assert await values_of(world, "item", "item_id") == {"1-1", "2-1"}


@pytest.mark.parametrize("item", ["deleted later", "live"])
async def test_an_old_product_that_still_has_an_item_stays_and_does_not_keep_retention_busy(
    world: CatalogWorld, item: str
) -> None:
    """The item could not be read without it."""
    await full_sync(world, ["1", "2"], items=2)
    await full_sync(world, ["2"], items=2)
    await age_tombstones(world)
    later = "clock_timestamp()" if item == "deleted later" else "NULL"
    await world.execute(f"UPDATE item SET deleted_at = {later} WHERE item_id = '1-2'")
    store = StepRecorder(Database(world.engine), rows_per_purge=100)
    await retention(world, store).purge()
    assert store.deleted == [1, 0]
    assert await values_of(world, "item", "item_id") == {"1-2", "2-1", "2-2"}
    assert await values_of(world, "product", "product_id") == {"1", "2"}
    # It goes with its last item.
    await world.execute("UPDATE item SET deleted_at = clock_timestamp() - interval '1 year' WHERE item_id = '1-2'")
    await world.execute("UPDATE shop_state SET oldest_tombstone_at = clock_timestamp() - interval '1 year'")
    await purge(world)
    assert await values_of(world, "product", "product_id") == {"2"}


async def test_a_purged_product_that_returns_is_stored_again(world: CatalogWorld) -> None:
    await full_sync(world, ["1", "2"])
    await full_sync(world, [])
    await age_tombstones(world)
    await purge(world)
    assert await values_of(world, "product", "product_id") == set()
    again = await full_sync(world, ["1", "2"])
    assert again.progress.items.created == 2
    assert await values_of(world, "item", "item_id") == {"1-1", "2-1"}
    row = await state(world)
    assert (row["product_count"], row["item_count"]) == (2, 2)
    positions = await values_of(world, "item", "feed_position")
    assert all(position > row["feed_floor"] for position in positions)


async def test_many_tombstones_are_purged_in_small_steps(world: CatalogWorld) -> None:
    await full_sync(world, ["1", "2", "3"], items=9)
    await full_sync(world, ["3"], items=9)
    await age_tombstones(world)
    store = StepRecorder(Database(world.engine), rows_per_purge=4)
    await retention(world, store).purge()
    # At most 4 items and 4 products each; the last step but one finds nothing left.
    assert sum(store.deleted) >= 18 + 2
    assert max(store.deleted) <= 8
    assert len(store.deleted) > 4
    assert await values_of(world, "product", "product_id") == {"3"}


async def test_tombstones_of_all_shops_are_purged_by_one_round(world: CatalogWorld) -> None:
    for number in range(3):
        shop = ShopKey("shopify", f"s{number}.myshopify.com")
        for products in (["1", "2"], ["2"]):
            await world.create_sync(shop, allow_mass_delete=True)
            await world.supervisor(MemorySource([product(one) for one in products])).run(await world.claim())
    await age_tombstones(world)
    await purge(world)
    assert await values_of(world, "product", "product_id") == {"2"}
    assert len(await world.rows("SELECT 1 FROM item")) == 3
