"""The gap experiment: writers of several shops whose transactions take random times and are rolled back at random.

A reader of the change feed reads all the time. It must lose nothing, while a reader of the same events by a
sequence loses some: it passes numbers whose transactions commit later.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from typing import Final, TypeVar
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from catalog_svc.domain.shop import ShopKey
from catalog_svc.storage.batches import BatchStore
from catalog_svc.storage.database import Database
from tests.integration.catalog_svc.change_reader import TTL, ChangeReader, RolledBack, ShopWriter
from tests.integration.catalog_svc.conftest import CatalogWorld

SHOPS: Final = 6
BATCHES: Final = 40
"""Of each shop."""
MAX_SECONDS: Final = 0.03
ROLLED_BACK: Final = 0.15

T = TypeVar("T")

# The same transactions number the same events by a sequence as well.
_CONTROL: Final = (
    "CREATE TABLE numbered_event (number bigserial PRIMARY KEY, shop_id uuid, feed_position bigint)",
    """CREATE FUNCTION number_event() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
       BEGIN
           INSERT INTO public.numbered_event (shop_id, feed_position) VALUES (NEW.shop_id, NEW.feed_position);
           RETURN NULL;
       END $$""",
    """CREATE TRIGGER number_event AFTER INSERT ON change_event FOR EACH ROW WHEN (NEW.sync_id IS NULL)
       EXECUTE FUNCTION number_event()""",
)


class SlowDatabase(Database):
    """A database whose writes take a random time before they commit, and are rolled back at random."""

    def __init__(self, engine: AsyncEngine, chance: random.Random) -> None:
        super().__init__(engine)
        self._chance = chance
        self.rolled_back_count = 0

    async def write(self, work: Callable[[AsyncConnection], Awaitable[T]], *, shops: Collection[UUID] = ()) -> T:
        seconds, roll_back = self._chance.uniform(0, MAX_SECONDS), self._chance.random() < ROLLED_BACK

        async def slow(connection: AsyncConnection) -> T:
            result = await work(connection)
            await connection.execute(text("SELECT pg_sleep(:seconds)"), {"seconds": seconds})
            if roll_back:
                self.rolled_back_count += 1
                raise RolledBack
            return result

        return await super().write(slow, shops=shops)


class NumberReader:
    """Reads events by their number in a sequence."""

    def __init__(self, world: CatalogWorld) -> None:
        self.positions: set[tuple[UUID, int]] = set()
        self._world = world
        self._last = 0

    async def read(self) -> None:
        for row in await self._world.rows(
            "SELECT * FROM numbered_event WHERE number > :last ORDER BY number", last=self._last
        ):
            self.positions.add((row["shop_id"], row["feed_position"]))
            self._last = row["number"]


async def test_the_change_feed_loses_nothing_that_a_reader_by_a_sequence_loses(world: CatalogWorld) -> None:
    chance = random.Random(14)
    for statement in _CONTROL:
        await world.execute(statement)
    reader, control = ChangeReader(world, limit=7), NumberReader(world)
    await reader.begin()
    writers = [await ShopWriter.begin(world, ShopKey("shopify", f"s{n}.myshopify.com")) for n in range(SHOPS)]
    database = SlowDatabase(world.engine, chance)
    store = BatchStore(database, ttl=TTL)

    async def write(writer: ShopWriter) -> None:
        stored = 0
        while stored < BATCHES:
            with suppress(RolledBack):
                await writer.store(store)
                stored += 1

    async def read(one: ChangeReader | NumberReader) -> None:
        while not writing.done():
            await one.read()

    writing = asyncio.gather(*map(write, writers))
    await asyncio.gather(writing, read(reader), read(control))
    await reader.read_all()
    await control.read()
    written = {(writer.shop.shop_id, position) for writer in writers for position in range(1, BATCHES + 1)}
    assert database.rolled_back_count > SHOPS
    assert sorted(reader.positions) == sorted(written)
    # Otherwise the experiment shows nothing.
    assert written - control.positions
