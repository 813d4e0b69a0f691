"""After a restore of an older dump every consumer learns that its position is of another history."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from catalog_svc.domain.errors import ChangePositionExpired, PositionExpired
from tests.chaos.postgres import binaries
from tests.conftest import execute, superuser_url
from tests.fakes.product_source import product
from tests.integration.catalog_svc.change_reader import ChangeReader
from tests.integration.catalog_svc.conftest import CatalogWorld
from tests.integration.catalog_svc.feed_reader import (
    FeedConsumer,
    FeedReader,
    RandomWriter,
    mirrored_items,
    stored_items,
)
from tests.waiting import within_timeout

EMPTY_DATABASE = (
    "DROP SCHEMA public CASCADE",
    # As in a new database.
    "CREATE SCHEMA public AUTHORIZATION pg_database_owner",
    "GRANT USAGE ON SCHEMA public TO PUBLIC",
)


async def run(command: str, *arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(
        binaries() / command, *arguments, stderr=asyncio.subprocess.PIPE
    )
    _, stderr = await within_timeout(process.communicate())
    assert process.returncode == 0, stderr.decode()


@pytest.mark.needs_session("pg_dump and pg_restore use a direct connection")
async def test_every_position_is_expired_after_a_restore_of_an_older_dump_in_its_database(
    world: CatalogWorld, tmp_path: Path
) -> None:
    writer = RandomWriter(world, random.Random(0), steps=0, purges=False)
    await writer.store(*(product(f"{n}") for n in range(3)))
    dump, url = str(tmp_path / "catalog.dump"), superuser_url(world.engine)
    await run("pg_dump", "--format=custom", f"--file={dump}", url)
    lists, changes = FeedReader(world, page_size=10), ChangeReader(world)
    following, in_snapshot = FeedConsumer(world, page_size=10), FeedConsumer(world, page_size=2)
    await changes.begin()
    in_snapshot.store(await in_snapshot.read_page())
    await writer.store(product("1", price="8.00"), product("9"))
    await changes.read_all()
    await lists.read()
    await following.read()

    await world.engine.dispose()
    for statement in EMPTY_DATABASE:
        await execute(url, statement)
    await run("pg_restore", "--exit-on-error", f"--dbname={url}", dump)
    for consumer in (following, in_snapshot):
        with pytest.raises(PositionExpired):
            await consumer.read_page()
        await consumer.read()
        assert mirrored_items(consumer) == await stored_items(world)
    await lists.read()
    assert lists.expired_count == 1
    assert mirrored_items(lists) == await stored_items(world)
    # The feed of all shops; that of syncs has the same positions.
    with pytest.raises(ChangePositionExpired):
        await changes.read()
