"""An incremental reader misses no change, whatever is written while it reads pages.

Page 1 is read; then a product behind the cursor changes, and one ahead of it. A reader that continues from the
newest change that it has seen never sees the first one. The position of the list covers both.
"""

from __future__ import annotations

import random
from typing import Final
from uuid import uuid4

import pytest

from catalog_svc.domain.catalog_reads import ItemFilter
from catalog_svc.domain.errors import PositionExpired
from tests.fakes.product_source import product
from tests.integration.catalog_svc.conftest import SHOP, CatalogWorld
from tests.integration.catalog_svc.feed_reader import (
    FeedReader,
    RandomWriter,
    mirrored_items,
    stored_items,
)

SEEDS: Final = range(24)


@pytest.mark.parametrize("continues_from", ["the position of the list", "the newest change that it has seen"])
async def test_a_change_behind_the_cursor_is_listed_next_time(world: CatalogWorld, continues_from: str) -> None:
    """The second case shows that the experiment finds a reader that loses a change."""
    writer = RandomWriter(world, random.Random(0), steps=0, purges=False)
    await writer.store(*(product(f"{n}", items=2) for n in range(6)))
    changes = iter([product("0", items=2, title="Behind"), product("5", items=2, title="Ahead")])

    async def change_between_pages() -> None:
        changed = next(changes, None)
        if changed is not None:
            await writer.store(changed)

    reader = FeedReader(world, page_size=4)
    await reader.read(change_between_pages)
    if continues_from != "the position of the list":
        reader.position = reader.newest_seen
    await reader.read()
    titles = {item.product_id: item.product_title for item in reader.items.values()}
    assert titles["5"] == "Ahead"
    assert titles["0"] == ("Behind" if continues_from == "the position of the list" else "Shirt")


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_reader_ends_with_the_stored_catalog_whatever_changes_between_its_pages(
    world: CatalogWorld, seed: int
) -> None:
    writer = RandomWriter(world, random.Random(seed), steps=15, purges=False)
    reader = FeedReader(world, page_size=1 + seed % 5)
    await writer.load()
    await reader.read(writer.write)
    assert writer.steps < 15
    assert reader.expired_count == 0
    await reader.read()
    assert mirrored_items(reader) == await stored_items(world)


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_consumer_mirrors_the_shop_through_writes_sweeps_and_retention(
    world: CatalogWorld, seed: int
) -> None:
    writer = RandomWriter(world, random.Random(1_000 + seed), steps=60, purges=True)
    reader = FeedReader(world, page_size=1 + seed % 7)
    await writer.load()
    while writer.steps:
        await reader.read(writer.write)
        await writer.write()
    await reader.read()
    assert mirrored_items(reader) == await stored_items(world)


async def test_a_reader_whose_changes_were_purged_reads_all_items_again(world: CatalogWorld) -> None:
    writer = RandomWriter(world, random.Random(0), steps=0, purges=True)
    await writer.store(*(product(f"{n}") for n in range(4)))
    reader = FeedReader(world, page_size=2)
    await reader.read()
    await writer.delete("1", "2")
    await writer.purge()
    await writer.store(product("0", title="Changed"))
    assert reader.items.keys() == {"0-1", "1-1", "2-1", "3-1"}
    await reader.read()
    assert reader.expired_count == 1
    assert reader.items.keys() == {"0-1", "3-1"}
    assert mirrored_items(reader) == await stored_items(world)
    await reader.read()
    assert reader.expired_count == 1


async def test_a_purge_between_two_pages_that_may_have_taken_unread_changes_ends_the_list(
    world: CatalogWorld,
) -> None:
    """Items of one position are split between the pages; the purged one was not read yet."""
    writer = RandomWriter(world, random.Random(0), steps=0, purges=True)
    await writer.store(*(product(f"{n}") for n in range(6)))
    reader = world.reader()
    start = (await reader.items(SHOP, ItemFilter(), incarnation="", after=None, limit=10)).position
    assert start is not None
    await writer.delete("1", "2", "3")
    which = ItemFilter(after_position=start, include_deleted=True)
    page = await reader.items(SHOP, which, incarnation="", after=None, limit=2)
    assert [item.item_id for item in page.items] == ["1-1", "2-1"]
    await writer.purge()
    with pytest.raises(PositionExpired):
        await reader.items(SHOP, which, incarnation="", after=page.next, limit=2)


async def test_a_position_that_the_shop_has_not_reached_is_of_another_database(world: CatalogWorld) -> None:
    writer = RandomWriter(world, random.Random(0), steps=0, purges=False)
    await writer.store(product("1"))
    reader = world.reader()
    whole = await reader.items(SHOP, ItemFilter(), incarnation="", after=None, limit=1)
    position, incarnation = whole.position, str(whole.incarnation)
    assert position is not None
    last = ItemFilter(after_position=position)
    page = await reader.items(SHOP, last, incarnation=incarnation, after=None, limit=1)
    assert (list(page.items), page.position) == ([], position)
    beyond = ItemFilter(after_position=position + 1)
    for which, known in ((beyond, incarnation), (last, str(uuid4())), (ItemFilter(), str(uuid4()))):
        with pytest.raises(PositionExpired):
            await reader.items(SHOP, which, incarnation=known, after=None, limit=1)
