"""The counters and positions of a shop agree with its rows after whatever happens to them.

A status reads the counters and never the rows. The feed of changes reads the rows by position: it would miss a
change whose position is wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
from catalogsync.connector.v1 import connector_service_pb2 as pb

from catalog_svc.domain.errors import MassDeleteBlocked
from catalog_svc.domain.shop import ShopKey
from catalog_svc.source import decode
from tests.fakes.product_source import MemorySource, product
from tests.integration.catalog_svc.conftest import CatalogWorld
from tests.integration.catalog_svc.purging import full_sync
from tests.integration.catalog_svc.random_shop import RandomShop

STEPS = 70
ITEM_FIELDS_OF_PRODUCT = ("title", "status", "url", "vendor", "product_type")
NOT_COMPARED = ("feed_position", "updated_at", "created_at", "content_hash")
"""Columns that may change in a row that is the same for its readers, or that change with the position."""

Row = Mapping[Any, Any]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The rows of a shop by table and id, and its state."""

    rows: dict[tuple[str, str], Row]
    state: Row

    @classmethod
    async def read(cls, world: CatalogWorld) -> Snapshot:
        rows = {
            (table, row[f"{table}_id"]): row
            for table in ("product", "item")
            for row in await world.rows(f"SELECT * FROM {table}")
        }
        states = await world.rows("SELECT * FROM shop_state")
        return cls(rows, states[0])

    @property
    def position(self) -> int:
        position: int = self.state["feed_position"]
        return position

    @property
    def counters(self) -> tuple[int, int, int]:
        """Products, items, and items with an image, as the shop's state has them."""
        return (self.state["product_count"], self.state["item_count"], self.state["item_with_image_count"])

    @property
    def counted(self) -> tuple[int, int, int]:
        """The same, from the rows."""
        live = [(table, row) for (table, _), row in self.rows.items() if row["deleted_at"] is None]
        return (
            sum(table == "product" for table, _ in live),
            sum(table == "item" for table, _ in live),
            sum(table == "item" and row["image_url"] != "" for table, row in live),
        )

    @property
    def tombstones(self) -> list[Any]:
        return [row["deleted_at"] for row in self.rows.values() if row["deleted_at"] is not None]


def values(row: Row | None) -> dict[str, Any] | None:
    """Return what readers see of a row, without its bookkeeping."""
    return None if row is None else {name: value for name, value in row.items() if name not in NOT_COMPARED}


def check_state(now: Snapshot) -> None:
    """Check the counters and the oldest tombstone."""
    assert now.counters == now.counted
    if now.tombstones:
        assert now.state["oldest_tombstone_at"] <= min(now.tombstones)
    assert all(1 <= row["feed_position"] <= now.position for row in now.rows.values())


def check_positions(before: Snapshot, now: Snapshot) -> None:
    """Check the positions of the rows that one transaction changed, and of those that it did not."""
    stepped = [key for key, row in now.rows.items() if row["feed_position"] > before.position]
    changed = {key for key, row in now.rows.items() if values(row) != values(before.rows.get(key))}
    # One position for all rows of the transaction, and none without a row.
    assert now.position == before.position + bool(stepped)
    assert {now.rows[key]["feed_position"] for key in stepped} <= {now.position}
    assert changed <= set(stepped)
    assert items_of_changed_products(before, now) <= set(stepped)
    for key in now.rows.keys() - set(stepped):
        assert now.rows[key]["feed_position"] == before.rows[key]["feed_position"]


def items_of_changed_products(before: Snapshot, now: Snapshot) -> set[tuple[str, str]]:
    """Return the live items of products whose fields that are read with each item have changed."""
    changed = {
        product_id
        for (table, product_id), row in now.rows.items()
        if table == "product"
        and (old := before.rows.get((table, product_id))) is not None
        and any(row[name] != old[name] for name in ITEM_FIELDS_OF_PRODUCT)
    }
    return {
        key
        for key, row in now.rows.items()
        if key[0] == "item" and row["deleted_at"] is None and row["product_id"] in changed
    }


def check_purge(before: Snapshot, now: Snapshot) -> None:
    """Check that a purge removed only tombstones, none of them above the floor of the feed."""
    purged = [row for key, row in before.rows.items() if key not in now.rows]
    assert all(row["deleted_at"] is not None for row in purged)
    floors = [before.state["feed_floor"], *(row["feed_position"] for row in purged)]
    assert now.state["feed_floor"] == max(floors)
    assert {key: before.rows[key] for key in now.rows} == now.rows
    assert now.state["oldest_tombstone_at"] == min(now.tombstones, default=None)


@pytest.mark.parametrize("seed", range(8))
async def test_counters_and_positions_agree_with_the_rows_after_every_random_step(
    world: CatalogWorld, seed: int
) -> None:
    shop = RandomShop(world, seed)
    await shop.step()
    before = await Snapshot.read(world)
    check_state(before)
    for number in range(STEPS):
        name = await shop.step()
        now = await Snapshot.read(world)
        try:
            check_state(now)
            check_positions(before, now)
            if name == "purge":
                check_purge(before, now)
            if name in ("purge", "end", "repeat"):
                assert now.position == before.position
        except AssertionError as error:
            raise AssertionError(f"step {number} of {seed}, {name}: {error}") from error
        before = now
    assert before.position > STEPS / 4
    assert Counter(shop.done).keys() >= {"batch", "sweep", "end", "purge"}


async def test_rows_of_one_transaction_share_a_position_and_the_next_one_gets_the_next(
    world: CatalogWorld,
) -> None:
    source = MemorySource([product(str(number), items=2) for number in range(5)], batch_size=2)
    await world.sync(source)
    rows = await world.rows("SELECT product_id, feed_position FROM product ORDER BY product_id")
    assert [row["feed_position"] for row in rows] == sorted(row["feed_position"] for row in rows)
    (state,) = await world.rows("SELECT feed_position FROM shop_state")
    assert {row["feed_position"] for row in rows} == set(range(1, state["feed_position"] + 1))
    of_items = await world.rows(
        """SELECT 1 FROM item JOIN product USING (shop_id, product_id)
           WHERE item.feed_position = product.feed_position"""
    )
    assert len(of_items) == 10


async def test_a_sync_that_changes_nothing_leaves_the_position_and_the_state_as_they_were(
    world: CatalogWorld,
) -> None:
    products = ["1", "2", "3"]
    await full_sync(world, products, items=2)
    before = await Snapshot.read(world)
    await full_sync(world, products, items=2)
    now = await Snapshot.read(world)
    assert (now.position, now.rows) == (before.position, before.rows)


async def test_items_get_a_new_position_when_only_the_title_of_their_product_changed(world: CatalogWorld) -> None:
    """The title is read with each item: for readers of the feed the item has changed."""
    await world.sync(MemorySource([product("1", items=2), product("2", items=2)]))
    before = await Snapshot.read(world)
    await world.sync(MemorySource([product("1", items=2, title="Hat"), product("2", items=2)]))
    now = await Snapshot.read(world)
    moved = {key for key, row in now.rows.items() if row["feed_position"] == now.position}
    assert now.position == before.position + 1
    assert moved == {("product", "1"), ("item", "1-1"), ("item", "1-2")}


async def test_a_change_that_items_do_not_show_moves_only_their_product(world: CatalogWorld) -> None:
    await world.sync(MemorySource([product("1", items=2)]))
    changed = product("1", items=2)
    changed.description_html = "<p>new</p>"
    await world.sync(MemorySource([changed]))
    now = await Snapshot.read(world)
    moved = {key for key, row in now.rows.items() if row["feed_position"] == now.position}
    assert moved == {("product", "1")}


async def test_a_batch_that_is_rolled_back_takes_no_position(world: CatalogWorld) -> None:
    await full_sync(world, [str(number) for number in range(20)])
    before = await Snapshot.read(world)
    await world.create_sync()
    claimed = await world.claim()
    deleted = decode.batch(
        pb.ProductBatch(deleted_product_ids=[str(number) for number in range(19)], checkpoint=b"1"),
        currency_code="EUR",
    )
    shop = claimed.sync.shop
    with pytest.raises(MassDeleteBlocked):
        await world.batches.apply(claimed.lease, shop, deleted, full=True, items_per_second=None)
    now = await Snapshot.read(world)
    assert (now.position, now.counters, now.rows) == (before.position, before.counters, before.rows)
    small = replace(deleted, deleted_product_ids=("0",))
    await world.batches.apply(claimed.lease, shop, small, full=True, items_per_second=None)
    now = await Snapshot.read(world)
    assert (now.position, now.counters) == (before.position + 1, (19, 19, 0))
    check_state(now)


async def test_shops_count_and_number_their_changes_separately(world: CatalogWorld) -> None:
    for name, count in (("a", 1), ("b", 3)):
        await world.create_sync(ShopKey("shopify", f"{name}.myshopify.com"))
        source = MemorySource([product(str(number), items=2) for number in range(count)])
        await world.supervisor(source).run(await world.claim())
    states = await world.rows(
        "SELECT product_count, item_count, feed_position FROM shop_state ORDER BY product_count"
    )
    assert [(state["product_count"], state["item_count"]) for state in states] == [(1, 2), (3, 6)]
    assert states[0]["feed_position"] == 1
