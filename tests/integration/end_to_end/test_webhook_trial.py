"""Webhooks of a shop that changes all the time, from the devstore to the catalog over HTTP.

A tenth of the deliveries is lost, some come twice, all in random order, and 5 % an hour late; syncs run meanwhile.
`make webhook-trial DELIVERIES=10000` sends so many per platform; the tests send a few hundred.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from random import Random
from typing import Final

import pytest
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from catalogsync.connector.v1 import connector_service_pb2 as connector_pb
from catalogsync.connector.v1.connector_service_pb2_grpc import ConnectorServiceStub
from catalogsync_common.channel import open_channel
from catalogsync_common.settings import ListenAddress
from pydantic import SecretStr

from bench.common.measure import percentile
from bench.freshness.receiver import Receiver, receiving
from catalog_svc import bootstrap
from catalog_svc.settings import CatalogSettings
from devstore.webhooks.sender import WebhookSender
from tests.integration.catalog_svc.conftest import CatalogWorld
from tests.integration.end_to_end.conftest import EndToEnd, Opens
from tests.pgbouncer import is_pooled
from tests.waiting import until, until_found

DELIVERIES: Final = int(os.environ.get("CATALOGSYNC_WEBHOOK_DELIVERIES", "300"))
pytestmark = pytest.mark.timeout(300 + DELIVERIES // 5)
PLATFORMS: Final = ("shopify", "woocommerce-10.3", "bigcommerce")
PRODUCTS: Final = 150
CHANGES_PER_DELETION: Final = 150
MAX_DELETIONS: Final = 8
"""So few that the deletion guard, which counts those of a day, allows all of them."""
MAX_WAITING: Final = 100
"""Deliveries that wait while the shop goes on changing."""
FIRST_VALUE: Final = 1_000_000
"""Above every price, in cents, and every stock that the devstore generates."""

# Prices, in cents, and stock only increase in the shop, and an id is never used again.
_OBSERVE: Final = (
    "CREATE TABLE older_write (item_id text, before text, after text)",
    """
    CREATE FUNCTION observe_older_write() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        IF NEW.price < OLD.price OR NEW.stock_quantity < OLD.stock_quantity
            OR (OLD.deleted_at IS NOT NULL AND NEW.deleted_at IS NULL) THEN
            INSERT INTO older_write VALUES (NEW.item_id,
                OLD.price::text || ', ' || OLD.stock_quantity || ', ' || coalesce(OLD.deleted_at::text, 'live'),
                NEW.price::text || ', ' || NEW.stock_quantity || ', ' || coalesce(NEW.deleted_at::text, 'live'));
        END IF;
        RETURN NULL;
    END $$""",
    "CREATE TRIGGER observe_older_write AFTER UPDATE ON item FOR EACH ROW EXECUTE FUNCTION observe_older_write()",
)
_STOP_OBSERVING: Final = (
    "DROP TRIGGER observe_older_write ON item",
    "DROP FUNCTION observe_older_write()",
    "DROP TABLE older_write",
)


# Without the hash of what was read last: the stock that an incremental sync stores is no product.
_LIVE_ROWS: Final = """
    SELECT (to_jsonb({table})
        - ARRAY['shop_id', 'feed_position', 'content_hash', 'created_at', 'updated_at'])::text AS row
    FROM {table} WHERE deleted_at IS NULL"""
_OPTIONS: Final[dict[str, dict[str, object]]] = {
    # The rows of an export are as old as its beginning.
    "shopify": {"shopify_strategy": "bulk"},
    "woocommerce-10.3": {"key_writes": True},
    "bigcommerce": {},
}


@asynccontextmanager
async def observed(world: CatalogWorld) -> AsyncIterator[None]:
    """Record each write of an item that stores an older state than the one before, in the database itself."""
    for statement in _OBSERVE:
        await world.execute(statement)
    try:
        yield
    finally:
        for statement in _STOP_OBSERVING:
            await world.execute(statement)


@dataclass(slots=True)
class Trial:
    """A shop whose webhooks go to a running catalog."""

    shop: EndToEnd
    stub: CatalogServiceStub
    receiver: Receiver
    random: Random = field(default_factory=lambda: Random(11))
    values: count[int] = field(default_factory=lambda: count(FIRST_VALUE))
    deletions: int = 0
    syncs: int = 0

    @property
    def sender(self) -> WebhookSender:
        return self.shop.store.webhooks(self.shop.domain)

    @property
    def sent(self) -> int:
        return self.sender.log.counts["sent"]

    async def ensure_webhooks(self) -> None:
        """Create the webhooks as an operator does, at an address that names the shop."""
        address = f"{self.receiver.url}/{self.shop.platform}/{self.shop.domain}"
        ref = connector_pb.ShopRef(platform=self.shop.platform, domain=self.shop.domain)
        async with open_channel(self.shop.connector_address) as channel:
            request = connector_pb.EnsureWebhooksRequest(shop=ref, address=address)
            await ConnectorServiceStub(channel).EnsureWebhooks(request)

    async def change_until(self, deliveries: int) -> None:
        """Change the shop until so many deliveries were sent."""
        for number in count(1):
            if self.sent >= deliveries:
                return
            self.change()
            if number % CHANGES_PER_DELETION == 0 and self.deletions < MAX_DELETIONS:
                self._replace_product()
            await asyncio.sleep(0)
            await until(lambda: self._waiting_now() < MAX_WAITING, seconds=600)

    def _waiting_now(self) -> int:
        return self.sender.waiting - self.sender.log.counts["late"]

    def change(self) -> None:
        """Set price and stock of an item to the next value."""
        catalog = self.shop.catalog
        product = catalog.product(self.random.choice(list(catalog.rows())).id)
        assert product is not None
        value = next(self.values)
        price = f"{value // 100}.{value % 100:02}"
        if product.variants:
            catalog.update_variant(self.random.choice(product.variants).id, price=price, stock=value)
        else:
            catalog.update_product(product.id, price=price, stock=value)

    def _replace_product(self) -> None:
        catalog = self.shop.catalog
        catalog.delete_product(self.random.choice(list(catalog.rows())).id)
        catalog.add_product()
        self.deletions += 1

    async def sync(self, mode: pb.Sync.Mode.ValueType) -> None:
        """Run a sync, which must succeed."""
        ref = pb.ShopRef(platform=self.shop.platform, domain=self.shop.domain)
        last = (await self.stub.StartSync(pb.StartSyncRequest(shop=ref, mode=mode))).sync
        async for message in self.stub.WatchSync(pb.WatchSyncRequest(sync_id=last.sync_id)):
            last = message.sync
        assert last.state == pb.Sync.STATE_SUCCEEDED, last
        self.syncs += 1

    async def sync_while(self, changing: asyncio.Task[None]) -> None:
        """Run syncs, full and incremental ones, until the shop has changed."""
        while not changing.done():
            await self.sync(pb.Sync.MODE_INCREMENTAL if self.syncs % 2 else pb.Sync.MODE_FULL)

    async def refreshed(self) -> None:
        """Wait until all deliveries have arrived, and what they named was read."""
        await until(lambda: self._waiting_now() <= 0)

        async def done() -> bool | None:
            return (
                not await self.shop.world.rows("SELECT 1 FROM product_refresh WHERE pending OR reader IS NOT NULL")
                or None
            )

        await until_found(done)

    async def deliver_late_ones(self) -> None:
        """Let the time pass after which the late deliveries come."""
        late = self.sender.log.counts["late"]
        self.sender.change_switches(late=0.0, lost=0.0, late_seconds=0.0)
        await until(lambda: not self.sender.waiting)
        assert late > 0

    async def older_writes(self) -> list[dict[str, str]]:
        return [dict(row) for row in await self.shop.world.rows("SELECT * FROM older_write")]


@asynccontextmanager
async def trial(shop: EndToEnd, database_url: str) -> AsyncIterator[Trial]:
    """Run a catalog over the database and the connector of this shop, and a receiver of webhooks."""
    settings = CatalogSettings(
        database_url=SecretStr(database_url),
        database_pooled=is_pooled(database_url),
        listen_address=ListenAddress("127.0.0.1:0"),
        connector_address=shop.connector_address,
        incremental_overlap=timedelta(0),
        start_sync_interval=timedelta(0),
        webhooks_per_second=0,
        settle_delay=timedelta(0),
        stop_grace=timedelta(0),
    )
    async with (
        bootstrap.running(settings) as port,
        open_channel(f"127.0.0.1:{port}") as channel,
        receiving(CatalogServiceStub(channel)) as receiver,
    ):
        yield Trial(shop, CatalogServiceStub(channel), receiver)


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_lost_doubled_shuffled_and_late_deliveries_never_store_an_older_state_and_end_in_the_store_s_state(
    opens: Opens, database_url: str, platform: str
) -> None:
    async with opens(platform, products=PRODUCTS, edge_cases=False, **_OPTIONS[platform]) as shop:
        await shop.succeed()
        async with observed(shop.world), trial(shop, database_url) as running:
            await running.ensure_webhooks()
            running.sender.change_switches(
                lost=0.1, doubled=0.1, late=0.05, late_seconds=3_600.0, shuffled=True, retry_delay_factor=0.001
            )
            changing = asyncio.create_task(running.change_until(DELIVERIES))
            await running.sync_while(changing)
            await changing
            await running.refreshed()
            # What was lost or is late by an hour is found by the next incremental sync.
            await running.sync(pb.Sync.MODE_INCREMENTAL)
            after_sync = await shop.tables(_LIVE_ROWS)
            await shop.check_items()
            await running.deliver_late_ones()
            await running.refreshed()
            assert await shop.tables(_LIVE_ROWS) == after_sync
            assert await running.older_writes() == []
            counts = running.sender.log.counts
            assert counts["lost"] > 0 < counts["doubled"]
        _print_result(platform, running)
        await shop.clear()
        await shop.succeed()
        assert await shop.tables(_LIVE_ROWS) == after_sync


def _print_result(platform: str, running: Trial) -> None:
    counts = running.sender.log.counts
    kinds = ", ".join(f"{counts[name]:,} {name}" for name in ("sent", "lost", "doubled", "late", "failed"))
    milliseconds = [seconds * 1_000 for seconds in running.receiver.seconds]
    print(
        f"RESULT {platform}: deliveries: {kinds}; {running.syncs} syncs; {running.shop.calls:,} calls; "
        f"IngestWebhook p50 {percentile(milliseconds, 50):.0f} ms, p99 {percentile(milliseconds, 99):.0f} ms"
    )
