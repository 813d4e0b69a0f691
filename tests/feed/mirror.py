"""The mirror experiment: does a consumer that is killed again and again end with the stored items, cell by cell?

A shop of the devstore changes all the time, is synced again and again, and sends webhooks of its changes. Deleted
items are purged at random, however young they are. The consumer follows the item feed of two replicas. It is
killed at random times, stays away for longer now and then, and begins anew now and then. A replica is killed, too.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Final
from uuid import uuid4

import aiohttp
import asyncpg
from catalogsync.catalog.v1 import catalog_service_pb2 as pb

from bench.freshness.receiver import Receiver, receiving
from catalog_svc.storage.database import Database
from catalog_svc.storage.embedded import service_url
from catalog_svc.storage.engine import open_engine
from catalog_svc.storage.retention import RetentionStore
from devstore.churn import CatalogMutator
from tests.chaos.system import ChaosSystem, SystemConfig, running_system
from tests.chaos.workload import Clients, Observations, ShopDriver
from tests.feed.consumer_process import DOMAIN, SHOP, ConsumerProcess
from tests.feed.mirror_cells import differing_cells, index_differences, mirrored_items, stored_items
from tests.feed.pauses import pause
from tests.waiting import until_found

_TOPICS: Final = ("PRODUCTS_CREATE", "PRODUCTS_UPDATE", "PRODUCTS_DELETE")
_SUBSCRIBE: Final = """
mutation Subscribe($topic: WebhookSubscriptionTopic!, $url: String!) {
  webhookSubscriptionCreate(topic: $topic, webhookSubscription: {uri: $url}) { userErrors { message } }
}"""
_AWAY_EVERY: Final = 6
"""After one of so many kills the consumer stays away until deletions that it has not read were purged."""
_ANEW_EVERY: Final = 5
"""After one of so many kills another consumer begins, with nothing."""
_REPLICA_KILL_EVERY: Final = 4
_EARLY_KILL_EVERY: Final = 4
"""One of so many kills may come before the consumer has read anything."""
_STATE: Final = """
    SELECT feed_position, feed_floor FROM shop_state JOIN shop USING (shop_id)
    WHERE platform = $1 AND domain = $2"""


@dataclass(frozen=True, kw_only=True, slots=True)
class MirrorConfig:
    """Size of the experiment."""

    kills: int
    products: int = 200
    life_seconds: tuple[float, float] = (0, 2)
    """Of a consumer, from its first progress, or from the start of its process."""


@dataclass(kw_only=True)
class MirrorReport:
    """What happened, and how the mirror differs from the stored items."""

    kills: int = 0
    replica_kills: int = 0
    consumers: int = 1
    """Those that began with nothing."""
    expired: int = 0
    """Positions for which a consumer got POSITION_EXPIRED."""
    purged: int = 0
    """Deleted items that were purged."""
    syncs: int = 0
    webhooks: int = 0
    """Deliveries that the catalog has accepted."""
    changes: int = 0
    """Of the shop."""
    positions: int = 0
    """Transactions that changed items."""
    items: int = 0
    """Compared at the end, with the mirror of each consumer."""
    differences: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether all mirrors are equal to the stored items, and positions have expired meanwhile."""
        return not self.differences and not self.violations and self.expired > 0

    def as_json(self) -> str:
        """Return the report as one line of JSON."""
        return json.dumps(asdict(self))

    def summary_line(self) -> str:
        """Return the most important counts as one line of text."""
        return (
            f"feed-mirror: {self.kills} kills of consumers, {self.replica_kills} of replicas, {self.consumers} "
            f"consumers, {self.expired} positions expired; {self.changes} changes, {self.syncs} syncs, "
            f"{self.webhooks} webhooks, {self.positions} transactions, {self.purged} deleted items purged; "
            f"{self.items} items compared with each consumer's, {len(self.differences)} cells differ; "
            f"{len(self.violations)} violations"
        )


async def run_mirror(directory: Path, config: MirrorConfig, *, seed: int) -> MirrorReport:
    """Run the experiment in `directory`, and return its report."""
    system_config = SystemConfig(
        catalog_count=2, connector_count=1, products_per_shop=config.products, store_latency_seconds=0
    )
    async with (
        running_system(directory, system_config, Random(seed)) as system,
        receiving(system.stubs[system.catalogs[0].name]) as receiver,
    ):
        await _subscribe(system, receiver)
        run = _Run(system, receiver, config, directory, Random(seed + 1))
        await run.follow_and_kill()
        return run.report


async def _subscribe(system: ChaosSystem, receiver: Receiver) -> None:
    headers = {"X-Shopify-Access-Token": system.store.credentials(DOMAIN)["access_token"]}
    url = f"{system.store.base_url(DOMAIN)}/admin/api/2026-10/graphql.json"
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        for topic in _TOPICS:
            query = {"query": _SUBSCRIBE, "variables": {"topic": topic, "url": f"{receiver.url}/shopify"}}
            async with session.post(url, json=query, headers=headers, ssl=False) as reply:
                body = await reply.json()
            assert not body.get("errors"), body
            assert not body["data"]["webhookSubscriptionCreate"]["userErrors"], body


class _Run:
    """The shop, its syncs, the retention, the consumer and the check of one run."""

    def __init__(
        self, system: ChaosSystem, receiver: Receiver, config: MirrorConfig, directory: Path, chance: Random
    ) -> None:
        self.report = MirrorReport()
        self._system = system
        self._receiver = receiver
        self._config = config
        self._chance = chance
        self._observations = Observations()
        clients = Clients(system.stubs, self._observations, Random(chance.random()))
        self._driver = ShopDriver(SHOP, clients, self._observations, Random(chance.random()))
        self._mutator = CatalogMutator([system.store.catalog(DOMAIN)], Random(chance.random()))
        hosts = ",".join(catalog.address for catalog in system.catalogs)
        self._consumer = ConsumerProcess(f"ipv4:{hosts}", directory)

    async def follow_and_kill(self) -> None:
        """Run everything, and fill the report."""
        await self._driver.run_sync(pb.Sync.MODE_FULL)
        async with self._retention() as retention:
            driving = asyncio.create_task(self._driver.run())
            changing = asyncio.create_task(self._mutator.run(0.02))
            purging = asyncio.create_task(self._purge(retention))
            try:
                await self._kill_again_and_again(retention)
            finally:
                self._mutator.stop()
                self._driver.stop()
                purging.cancel()
                await asyncio.gather(changing, driving, purging, return_exceptions=True)
                self.report.violations += await self._consumer.kill()
            await self._driver.run_sync(pb.Sync.MODE_FULL)
            for file in self._consumer.files:
                self._consumer.file = file
                await self._consumer.start()
                try:
                    await self._check(file)
                finally:
                    self.report.violations += await self._consumer.kill()
            await self._count()

    async def _kill_again_and_again(self, retention: RetentionStore) -> None:
        for count in range(1, self._config.kills + 1):
            await self._consumer.start()
            if count % _EARLY_KILL_EVERY != 1:
                await self._consumer.until_progress()
            await pause(*self._config.life_seconds)
            self.report.violations += await self._consumer.kill()
            self.report.kills += 1
            if count % _AWAY_EVERY == _AWAY_EVERY // 2:
                await self._purge_what_is_unread(retention)
            if count % _ANEW_EVERY == 0:
                self._consumer.begin_anew()
                self.report.consumers += 1
            if count % _REPLICA_KILL_EVERY == 0:
                await self._kill_replica()

    async def _kill_replica(self) -> None:
        # Not the one that receives the webhooks: those that it has not answered would be lost.
        replica = self._system.catalogs[1]
        self.report.replica_kills += 1
        replica.signal(signal.SIGKILL)
        await replica.wait_for_exit()
        await replica.start()

    @asynccontextmanager
    async def _retention(self) -> AsyncIterator[RetentionStore]:
        engine = open_engine(service_url(self._system.postgres.url), pool_size=2)
        try:
            yield RetentionStore(Database(engine), owner=uuid4(), rows_per_purge=20)
        finally:
            await engine.dispose()

    async def _purge(self, retention: RetentionStore) -> None:
        """Purge tombstones now and then."""
        while True:
            await pause(2, 10)
            self.report.purged += await retention.purge_deleted(older_than=timedelta())

    async def _purge_what_is_unread(self, retention: RetentionStore) -> None:
        """Wait for deletions after the last kill, and purge them: the position of the consumer expires."""
        last, _ = await self._state()

        async def purged() -> bool | None:
            self.report.purged += await retention.purge_deleted(older_than=timedelta())
            _, floor = await self._state()
            return floor > last or None

        await until_found(purged)

    async def _state(self) -> tuple[int, int]:
        """Return the position and the floor of the shop."""
        async with self._connected() as connection:
            (row,) = await connection.fetch(_STATE, SHOP.platform, SHOP.domain)
        return row["feed_position"], row["feed_floor"]

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[asyncpg.Connection]:
        connection = await self._system.postgres.connect()
        try:
            yield connection
        finally:
            await connection.close()

    async def _check(self, file: Path) -> None:
        """Wait until the mirror equals the stored items, or say how it differs."""
        report, differences = self.report, list[str]()

        async def equal() -> bool | None:
            async with self._connected() as connection:
                stored = await stored_items(connection, SHOP)
            report.items = len(stored)
            differences[:] = differing_cells(mirrored_items(file), stored)
            return not differences or None

        with suppress(TimeoutError):
            await until_found(equal)
        report.violations += await self._consumer.kill()
        report.violations += index_differences(file)
        report.differences += [f"{file.name}: {difference}" for difference in differences]

    async def _count(self) -> None:
        report = self.report
        report.expired = self._consumer.expired_count()
        report.syncs = self._observations.counts["syncs"]
        report.webhooks = self._receiver.answered.count(200)
        report.changes = self._mutator.counts.total()
        report.positions, _ = await self._state()
