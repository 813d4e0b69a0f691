"""A copy of a shop's items, kept by `mirror_items`, is true through kills, expired positions and failed writes."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from uuid import uuid4

import pytest
from catalogsync.catalog.v1.catalog_service_pb2 import Item, Shop
from catalogsync_client import CatalogClient, MirrorBatch, MirrorState, RetryPolicy, mirror_items

from tests.fakes.catalog_service import CatalogServer, FakeCatalog
from tests.waiting import until, within_timeout

QUICK = RetryPolicy(initial_backoff_seconds=0.05, max_backoff_seconds=0.1)
NAME = "shopify:demo.myshopify.com"


class Copy:
    """The copy of a consumer; a batch is stored as a whole or not at all."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[str, int]] = {}
        """Title and snapshot by item id."""
        self.state = MirrorState()
        self.stored = 0
        self.fails_after: int | None = None

    async def load(self) -> MirrorState:
        return self.state

    async def store(self, batch: MirrorBatch) -> None:
        if self.fails_after is not None and self.stored >= self.fails_after:
            raise OSError("the disk is full")
        for item in batch.items:
            self.rows.pop(item.item_id, None)
            if not item.HasField("delete_time"):
                self.rows[item.item_id] = (item.title, batch.state.snapshot)
        if batch.completes_snapshot:
            self.rows = {id_: row for id_, row in self.rows.items() if row[1] >= batch.state.snapshot}
        self.state = batch.state
        self.stored += 1

    @property
    def titles(self) -> dict[str, str]:
        return {id_: title for id_, (title, _) in self.rows.items()}


class Mirroring:
    """A consumer process: starts, and is killed."""

    def __init__(self, client: CatalogClient, copy: Copy) -> None:
        self.task = asyncio.ensure_future(mirror_items(client, NAME, copy, retry_policy=QUICK))

    async def kill(self) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task


def put(catalog: FakeCatalog, shop: Shop, item_id: str, title: str, *, deleted: bool = False) -> None:
    """Store an item with the next position, and wake the watchers."""
    items = catalog.items[f"{shop.platform}:{shop.domain}"]
    position = max((item.feed_position for item in items), default=0) + 1
    items[:] = [item for item in items if item.item_id != item_id]
    item = Item(item_id=item_id, product_id=item_id, title=title, feed_position=position)
    if deleted:
        item.delete_time.GetCurrentTime()
    items.append(item)
    catalog.item_changed.set()


async def test_a_copy_follows_changes_and_deletions(
    catalog: FakeCatalog, server: CatalogServer, shop: Shop
) -> None:
    catalog.register(shop)
    put(catalog, shop, "1", "shirt")
    copy = Copy()
    async with CatalogClient(server.address) as client:
        mirroring = Mirroring(client, copy)
        await until(lambda: copy.titles == {"1": "shirt"})
        put(catalog, shop, "2", "hat")
        put(catalog, shop, "1", "", deleted=True)
        await until(lambda: copy.titles == {"2": "hat"})
        await mirroring.kill()


async def test_a_restarted_copy_continues_after_its_last_transaction(
    catalog: FakeCatalog, server: CatalogServer, shop: Shop
) -> None:
    catalog.register(shop)
    put(catalog, shop, "1", "shirt")
    copy = Copy()
    async with CatalogClient(server.address) as client:
        mirroring = Mirroring(client, copy)
        await until(lambda: copy.titles == {"1": "shirt"})
        await mirroring.kill()
        position = copy.state.position
        put(catalog, shop, "2", "hat")
        mirroring = Mirroring(client, copy)
        await until(lambda: copy.titles == {"1": "shirt", "2": "hat"})
        await mirroring.kill()
    assert [request.after_position for _, request, _ in catalog.requests] == ["", position]


async def test_an_expired_position_reads_everything_again_and_removes_what_is_gone(
    catalog: FakeCatalog, server: CatalogServer, shop: Shop
) -> None:
    catalog.register(shop)
    put(catalog, shop, "1", "shirt")
    put(catalog, shop, "2", "hat")
    copy = Copy()
    async with CatalogClient(server.address) as client:
        mirroring = Mirroring(client, copy)
        await until(lambda: len(copy.titles) == 2)
        await mirroring.kill()
        # The catalog was restored, and item 1 does not exist in the backup.
        key = f"{shop.platform}:{shop.domain}"
        catalog.items[key] = [item for item in catalog.items[key] if item.item_id != "1"]
        catalog.incarnation = str(uuid4())
        mirroring = Mirroring(client, copy)
        await until(lambda: copy.titles == {"2": "hat"} and not copy.state.in_snapshot)
        await mirroring.kill()
    assert copy.state.snapshot == 2


async def test_an_error_of_the_store_ends_the_copy_and_nothing_is_skipped_after_it(
    catalog: FakeCatalog, server: CatalogServer, shop: Shop
) -> None:
    catalog.register(shop)
    put(catalog, shop, "1", "shirt")
    copy = Copy()
    async with CatalogClient(server.address) as client:
        mirroring = Mirroring(client, copy)
        await until(lambda: copy.titles == {"1": "shirt"})
        copy.fails_after = copy.stored
        put(catalog, shop, "2", "hat")
        with pytest.raises(OSError, match="disk is full"):
            await within_timeout(mirroring.task)
        copy.fails_after = None
        mirroring = Mirroring(client, copy)
        await until(lambda: copy.titles == {"1": "shirt", "2": "hat"})
        await mirroring.kill()
