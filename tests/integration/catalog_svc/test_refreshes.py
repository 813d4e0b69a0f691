"""Refreshes on PostgreSQL: what waits for which lock, deletion of the shop, positions, counters and plans."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from catalogsync.connector.v1 import connector_service_pb2 as pb
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.errors import ShopNotFound
from catalog_svc.domain.refresh import QueuedRefresh, RefreshClaim, RefreshReason, RefreshRequest
from catalog_svc.domain.shop import Shop, ShopKey
from catalog_svc.domain.source import StockLevel
from catalog_svc.storage.database import Database
from catalog_svc.storage.refresh_requests import RefreshRequestStore
from catalog_svc.storage.refreshes import RefreshStore
from catalog_svc.storage.shop_deletions import ShopDeletionStore
from tests.contract.catalog_stores.conftest import HEADER, batch
from tests.fakes.product_source import MemorySource, product
from tests.integration.catalog_svc.conftest import CatalogWorld
from tests.integration.catalog_svc.plans import explain, recorded
from tests.waiting import until_found

OTHER = ShopKey("shopify", "other.myshopify.com")
TTL = timedelta(minutes=2)
MANY_ROWS = 5_000


class Refreshing:
    """The stores of a replica, over a database with a synced shop."""

    def __init__(self, world: CatalogWorld, shop: Shop) -> None:
        database = Database(world.engine)
        self.world = world
        self.shop = shop
        self.requests = RefreshRequestStore(database)
        self.refreshes = RefreshStore(database, ttl=TTL)
        self.deletions = ShopDeletionStore(database, owner=uuid4())

    async def request(self, *product_ids: str) -> None:
        request = RefreshRequest(reason=RefreshReason.WEBHOOK, product_ids=product_ids)
        await self.requests.add(self.shop, request)

    async def taken(self) -> tuple[QueuedRefresh, RefreshClaim]:
        """Claim the shop and become the reader of what waits."""
        await self.world.execute("UPDATE refresh_queue SET due_at = now()")
        (queued,) = await self.refreshes.claim(limit=1)
        claim = await self.refreshes.take(queued, limit=250)
        assert claim is not None
        return queued, claim

    async def refresh(self, *products: pb.Product, deleted: tuple[str, ...] = ()) -> None:
        queued, claim = await self.taken()
        await self.refreshes.write(claim, batch(*products, deleted_product_ids=deleted))
        await self.refreshes.finish(queued)

    async def queued_shops(self) -> int:
        return len(await self.world.rows("SELECT shop_id FROM refresh_queue"))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Yield another session's transaction, which is committed at the end."""
        async with self.world.owner.begin() as connection:
            yield connection

    async def until_blocked(self) -> None:
        """Wait until a session waits for a lock."""
        query = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"

        async def blocked() -> bool | None:
            return bool(await self.world.rows(query)) or None

        await until_found(blocked)


@pytest.fixture
async def refreshing(world: CatalogWorld) -> Refreshing:
    sync = await world.sync(MemorySource([product(str(n)) for n in range(5)]))
    return Refreshing(world, sync.shop)


# -- locks


async def test_a_request_does_not_wait_for_a_batch_that_is_being_written(refreshing: Refreshing) -> None:
    async with refreshing.transaction() as batch_write:
        # As the fence does it.
        await batch_write.execute(text("UPDATE shop_state SET next_seq = next_seq + 1"))
        await refreshing.request("1")
        (row,) = await refreshing.world.rows("SELECT pending FROM product_refresh")
        assert row["pending"]


async def test_a_claim_leaves_out_a_shop_whose_row_is_locked(refreshing: Refreshing, world: CatalogWorld) -> None:
    created = await world.create_sync(OTHER)
    await world.commands.cancel(created.sync_id)
    request = RefreshRequest(reason=RefreshReason.WEBHOOK, product_ids=("1",))
    await refreshing.requests.add(created.shop, request)
    await refreshing.request("1")
    await world.execute("UPDATE refresh_queue SET due_at = now()")
    async with refreshing.transaction() as other:
        lock = text("SELECT FROM refresh_queue WHERE shop_id = :shop_id FOR UPDATE")
        await other.execute(lock, {"shop_id": refreshing.shop.shop_id})
        assert [queued.shop_id for queued in await refreshing.refreshes.claim(limit=9)] == [created.shop.shop_id]


async def test_a_request_that_is_not_committed_when_a_claim_finishes_is_not_lost(refreshing: Refreshing) -> None:
    """The request has written its product, and not yet the queue: the claim, which sees nothing left, removes the
    shop from the queue, and the request adds it again."""
    await refreshing.request("1")
    queued, claim = await refreshing.taken()
    await refreshing.refreshes.write(claim, batch(product("1")))
    values = {"shop_id": refreshing.shop.shop_id}
    async with refreshing.transaction() as request:
        insert = "INSERT INTO product_refresh (shop_id, product_id, reason) VALUES (:shop_id, '2', 'WEBHOOK')"
        await request.execute(text(insert), values)
        await refreshing.refreshes.finish(queued)
        assert await refreshing.queued_shops() == 0
        upsert = """
            INSERT INTO refresh_queue (shop_id, platform, due_at) VALUES (:shop_id, 'shopify', now())
            ON CONFLICT (shop_id) DO UPDATE SET due_at = least(refresh_queue.due_at, excluded.due_at)"""
        await request.execute(text(upsert), values)
    assert (await refreshing.taken())[1].product_ids == ("2",)


async def test_a_claim_that_finishes_waits_for_a_request_that_has_written_the_queue(
    refreshing: Refreshing,
) -> None:
    await refreshing.request("1")
    queued, claim = await refreshing.taken()
    await refreshing.refreshes.write(claim, batch(product("1")))
    values = {"shop_id": refreshing.shop.shop_id}
    async with refreshing.transaction() as request:
        insert = "INSERT INTO product_refresh (shop_id, product_id, reason) VALUES (:shop_id, '2', 'WEBHOOK')"
        await request.execute(text(insert), values)
        await request.execute(text("UPDATE refresh_queue SET due_at = due_at WHERE shop_id = :shop_id"), values)
        finishing = asyncio.create_task(refreshing.refreshes.finish(queued))
        await refreshing.until_blocked()
    await finishing
    assert await refreshing.queued_shops() == 1
    assert (await refreshing.taken())[1].product_ids == ("2",)


async def test_many_requests_for_the_same_products_at_once_never_deadlock(refreshing: Refreshing) -> None:
    ids = [str(n) for n in range(40)]
    orders = (ids, ids[::-1], ids[20:] + ids[:20])
    await asyncio.gather(*(refreshing.request(*orders[n % 3]) for n in range(15)))
    stats = await refreshing.world.rows(
        "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    )
    assert [row["deadlocks"] for row in stats] == [0]
    assert len((await refreshing.taken())[1].product_ids) == len(ids)


# -- deletion of the shop


async def test_after_the_deletion_of_the_shop_nothing_is_requested_taken_or_written(
    refreshing: Refreshing,
) -> None:
    await refreshing.request("1")
    queued, claim = await refreshing.taken()
    await refreshing.deletions.begin(refreshing.shop)
    with pytest.raises(ShopNotFound):
        await refreshing.request("2")
    assert await refreshing.refreshes.take(queued, limit=9) is None
    result = await refreshing.refreshes.write(claim, batch(product("1", title="new")))
    assert (result.stored, result.dropped) == (0, 1)
    await refreshing.refreshes.finish(queued)
    await refreshing.refreshes.fail(queued, delay=timedelta())
    await refreshing.refreshes.leave_to_sync(queued, None)
    while await refreshing.deletions.purge(refreshing.shop.shop_id):
        pass
    assert await refreshing.world.rows("SELECT 1 FROM product_refresh") == []
    assert await refreshing.queued_shops() == 0


async def test_a_request_and_a_deletion_of_the_shop_happen_one_after_the_other(refreshing: Refreshing) -> None:
    async with refreshing.transaction() as deletion:
        # As the deletion begins.
        await deletion.execute(text("SELECT deleting FROM shop_state FOR UPDATE"))
        requesting = asyncio.create_task(refreshing.request("1"))
        await refreshing.until_blocked()
        await deletion.execute(text("UPDATE shop_state SET deleting = true"))
    with pytest.raises(ShopNotFound):
        await requesting


async def test_what_was_read_for_another_incarnation_of_the_shop_is_not_stored(refreshing: Refreshing) -> None:
    await refreshing.request("1")
    _, claim = await refreshing.taken()
    stale = replace(claim, incarnation=uuid4())
    assert (await refreshing.refreshes.write(stale, batch(product("1", title="new")))).dropped == 1
    assert (await refreshing.refreshes.write(claim, batch(product("1", title="new")))).stored == 1


# -- positions and counters


async def test_a_refresh_has_a_position_of_its_own_and_keeps_the_counters_exact(refreshing: Refreshing) -> None:
    world = refreshing.world
    (before,) = await world.rows("SELECT feed_position FROM shop_state")
    await refreshing.request("1", "2", "7", "3")
    await refreshing.refresh(product("1"), product("2", title="new"), product("7", items=3), deleted=("3",))
    (state,) = await world.rows("SELECT feed_position, product_count, item_count FROM shop_state")
    changed = await world.rows(
        "SELECT item_id, deleted_at IS NULL AS live FROM item WHERE feed_position > :position ORDER BY item_id",
        position=before["feed_position"],
    )
    assert {(row["item_id"], row["live"]) for row in changed} >= {("7-1", True), ("3-1", False), ("2-1", True)}
    assert "1-1" not in {row["item_id"] for row in changed}
    # Two transactions: what exists, and what does not.
    positions = await world.rows("SELECT max(feed_position) AS last FROM item")
    assert positions[0]["last"] == state["feed_position"]
    (counts,) = await world.rows(
        "SELECT (SELECT count(*) FROM product WHERE deleted_at IS NULL) AS products,"
        " (SELECT count(*) FROM item WHERE deleted_at IS NULL) AS items"
    )
    assert (state["product_count"], state["item_count"]) == (counts["products"], counts["items"]) == (5, 7)


async def test_a_refresh_that_finds_nothing_new_takes_no_position(refreshing: Refreshing) -> None:
    (before,) = await refreshing.world.rows("SELECT feed_position FROM shop_state")
    await refreshing.request("1")
    await refreshing.refresh(product("1"))
    (after,) = await refreshing.world.rows("SELECT feed_position FROM shop_state")
    assert after == before


# -- plans


@pytest.mark.needs_session("plans are explained on a connection of their own")
async def test_no_statement_reads_all_requests_of_a_shop(refreshing: Refreshing, world: CatalogWorld) -> None:
    """The requests are as many as a shop may have, and the queue has as many shops."""
    shop_id = refreshing.shop.shop_id
    await world.create_sync()
    claimed = await world.claim()
    await world.leases.begin(claimed.lease, HEADER)
    await world.execute(
        "INSERT INTO product_refresh (shop_id, product_id, reason, pending, refreshed)"
        " SELECT :shop_id, 'p' || n, 'WEBHOOK', false, true FROM generate_series(1, :n) AS n",
        shop_id=shop_id,
        n=MANY_ROWS,
    )
    await world.execute(
        "INSERT INTO refresh_queue (shop_id, platform, due_at)"
        " SELECT gen_random_uuid(), 'shopify', now() + interval '1 h' FROM generate_series(1, :n)",
        n=MANY_ROWS,
    )
    await refreshing.request("1", "2")
    await world.execute("ANALYZE product_refresh, refresh_queue, item, product")
    await world.execute("UPDATE refresh_queue SET due_at = now() WHERE shop_id = :shop_id", shop_id=shop_id)
    with recorded(world.engine) as statements:
        (queued,) = await refreshing.refreshes.claim(limit=1)
        claim = await refreshing.refreshes.take(queued, limit=250)
        assert claim is not None
        assert claim.product_ids == ("1", "2")
        level = StockLevel(item_id="3-1", stock_quantity=1, available=True)
        page = replace(batch(product("1", title="new"), product("4")), stock_levels=(level,))
        await world.batches.apply(claimed.lease, claimed.sync.shop, page, full=True, items_per_second=None)
        await refreshing.refreshes.finish(queued)
    of_refreshes = [one for one in statements if "refresh" in one.sql]
    assert len(of_refreshes) >= 6
    for statement in of_refreshes:
        plan = await explain(world.engine, statement)
        assert not set(plan.full_scans) & {"product_refresh", "refresh_queue"}, plan.text
        assert plan.rows_read < 100, plan.text
