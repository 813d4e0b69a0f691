"""A consumer of the item feed ends with the stored items, whatever is written, purged or lost while it reads.

It stores each page and the position after it together, as docs/clients.md says. A kill between the read and the
store of a page makes it read that page again.
"""

from __future__ import annotations

import random
from typing import Final
from uuid import uuid4

import pytest
from sqlalchemy.engine import make_url

from catalog_svc.domain.errors import PositionExpired
from catalog_svc.storage.embedded import service_url
from catalog_svc.storage.engine import open_engine
from tests.conftest import OWNER, execute, superuser_url, with_database
from tests.fakes.product_source import product
from tests.integration.catalog_svc.conftest import CatalogWorld
from tests.integration.catalog_svc.feed_reader import (
    FeedConsumer,
    RandomWriter,
    mirrored_items,
    stored_items,
)

SEEDS: Final = range(24)


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_consumer_that_is_killed_at_random_mirrors_the_shop(world: CatalogWorld, seed: int) -> None:
    chance = random.Random(seed)
    writer = RandomWriter(world, chance, steps=60, purges=True)
    consumer = FeedConsumer(world, page_size=1 + seed % 7)

    async def write_and_lose_a_page() -> None:
        await writer.write()
        if chance.random() < 0.5:
            try:
                await consumer.read_page()
            except PositionExpired:
                return

    await writer.load()
    while writer.steps:
        await consumer.read(write_and_lose_a_page)
        await writer.write()
    await consumer.read()
    assert mirrored_items(consumer) == await stored_items(world)


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_consumer_mirrors_the_shop_whenever_it_starts(world: CatalogWorld, seed: int) -> None:
    writer = RandomWriter(world, random.Random(seed), steps=40, purges=True)
    await writer.load()
    for _ in range(seed):
        await writer.write()
    consumer = FeedConsumer(world, page_size=1 + seed % 7)
    await consumer.read(writer.write)
    await consumer.read()
    assert mirrored_items(consumer) == await stored_items(world)


async def test_an_item_that_changes_many_times_is_read_once(world: CatalogWorld) -> None:
    writer = RandomWriter(world, random.Random(0), steps=0, purges=False)
    await writer.store(product("1"), product("2"))
    consumer = FeedConsumer(world, page_size=10)
    await consumer.read()
    for price in range(100):
        await writer.store(product("1", price=f"{price}.00"))
    page = await consumer.read_page()
    assert [(item.item_id, str(item.price)) for item in page.items] == [("1-1", "99.00")]
    assert page.caught_up


async def test_a_snapshot_has_no_deleted_items_and_is_not_interrupted_by_a_purge_of_older_ones(
    world: CatalogWorld,
) -> None:
    """The floor is above the positions of most items; the snapshot must be readable nevertheless."""
    writer = RandomWriter(world, random.Random(0), steps=0, purges=True)
    await writer.store(*(product(f"{n}") for n in range(6)))
    await writer.delete("1", "4")
    consumer = FeedConsumer(world, page_size=2)
    consumer.store(await consumer.read_page())
    while (await world.rows("SELECT count(*) AS count FROM item WHERE deleted_at IS NOT NULL"))[0]["count"]:
        await writer.purge()
    await consumer.read()
    assert (consumer.expired_count, sorted(consumer.items)) == (0, ["0-1", "2-1", "3-1", "5-1"])


async def test_a_purge_of_a_deletion_that_the_snapshot_has_passed_expires_its_position(
    world: CatalogWorld,
) -> None:
    writer = RandomWriter(world, random.Random(0), steps=0, purges=True)
    await writer.store(*(product(f"{n}") for n in range(4)))
    consumer = FeedConsumer(world, page_size=2)
    consumer.store(await consumer.read_page())
    await writer.delete("0")
    await writer.purge()
    with pytest.raises(PositionExpired):
        await consumer.read_page()
    await consumer.read()
    assert sorted(consumer.items) == ["1-1", "2-1", "3-1"]


@pytest.mark.needs_session("the copied database has its own name")
async def test_a_position_of_a_copy_of_the_database_is_expired(world: CatalogWorld) -> None:
    """The copy has every row of the original, the stored incarnation among them."""
    writer = RandomWriter(world, random.Random(0), steps=0, purges=False)
    await writer.store(product("1"))
    consumer = FeedConsumer(world, page_size=10)
    await consumer.read()
    superuser, name = superuser_url(world.engine), f"copy_{uuid4().hex}"
    await world.engine.dispose()
    await execute(superuser, f"CREATE DATABASE {name} TEMPLATE {make_url(superuser).database} OWNER {OWNER}")
    copy = open_engine(service_url(with_database(superuser, name)))
    try:
        restored = FeedConsumer(CatalogWorld(copy), page_size=10)
        restored.position = consumer.position
        with pytest.raises(PositionExpired):
            await restored.read_page()
    finally:
        await copy.dispose()
        await execute(superuser, f"DROP DATABASE {name} WITH (FORCE)")
    page = await consumer.read_page()
    assert (list(page.items), page.caught_up) == ([], True)
