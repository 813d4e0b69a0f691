"""One replica's scheduler over a real PostgreSQL, and shops that are due."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from catalog_svc.domain.errors import SourceFailed
from catalog_svc.domain.schedule import ScheduleDefaults, ShopSchedule
from catalog_svc.domain.shop import ShopChange, ShopField, ShopKey, ShopRef
from catalog_svc.domain.sync import Sync, SyncState
from catalog_svc.metrics import NullSyncMetrics
from catalog_svc.storage.database import Database
from catalog_svc.storage.product_reads import ProductStore
from catalog_svc.storage.schedules import ScheduleStore
from catalog_svc.storage.shop_directory import ShopDirectoryStore
from catalog_svc.storage.status import StatusStore
from catalog_svc.storage.sync_commands import SyncCommandStore
from catalog_svc.usecases.read_catalog import ReadCatalog
from catalog_svc.usecases.scheduler import Scheduler, SchedulerConfig
from catalog_svc.usecases.shops import ManageShops
from tests.fakes.known_platforms import KnownPlatforms
from tests.fakes.product_source import MemorySource, product
from tests.integration.catalog_svc.conftest import CatalogWorld

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
OFF = ScheduleDefaults()
BOTH = ScheduleDefaults(incremental_every=HOUR, full_every=DAY)
DAILY = ScheduleDefaults(full_every=DAY)
REVOKED = SourceFailed(reason="SOURCE_UNAUTHORIZED", message="connect the shop again", transient=False)


def schedule_change(*, reset: bool = False, **values: Any) -> ShopChange:
    """Return a change of these values, or with `reset` of the whole schedule."""
    fields = {
        "incremental_every": ShopField.INCREMENTAL_INTERVAL,
        "full_every": ShopField.FULL_INTERVAL,
        "paused": ShopField.PAUSED,
    }
    return ShopChange(fields=frozenset(fields[name] for name in (fields if reset else values)), **values)


class Replica:
    """One replica's scheduler over the world's database."""

    def __init__(
        self,
        world: CatalogWorld,
        defaults: ScheduleDefaults = OFF,
        *,
        store: type[ScheduleStore] = ScheduleStore,
        commands: SyncCommandStore | None = None,
        loop: type[Scheduler] = Scheduler,
        **config: Any,
    ) -> None:
        self.world = world
        database = Database(world.engine)
        self.schedules = store(database)
        self.woken = 0
        read = ReadCatalog(
            shops=world.shops,
            items=world.items,
            products=ProductStore(database),
            statuses=StatusStore(database),
            platforms=KnownPlatforms(),
            defaults=defaults,
        )
        self.status = read.status
        directory = ShopDirectoryStore(database)
        self._shops = ManageShops(
            shops=world.shops,
            directory=directory,
            read_directory=directory,
            platforms=KnownPlatforms(),
            read=read,
            defaults=defaults,
        )
        self.scheduler = loop(
            schedules=self.schedules,
            commands=commands or world.commands,
            drain=world.drain,
            wake_worker=self._wake,
            defaults=defaults,
            overlap=5 * MINUTE,
            config=SchedulerConfig(**config),
            metrics=NullSyncMetrics(),
        )

    async def set(self, ref: ShopRef, change: ShopChange) -> ShopSchedule:
        """Change the schedule of a shop and return the one in effect."""
        return (await self._shops.update(ref, change)).schedule

    def _wake(self) -> None:
        self.woken += 1

    async def tick(self) -> list[Sync]:
        """Return the syncs that this tick started, in the order of their starts."""
        before = {sync.sync_id for sync in await self._syncs()}
        await self.scheduler.tick()
        return [sync for sync in reversed(await self._syncs()) if sync.sync_id not in before]

    async def _syncs(self) -> list[Sync]:
        return await self.world.syncs.page(shop=None, states=(), before=None, limit=500)


async def synced(world: CatalogWorld) -> None:
    """Register the shop and sync it completely."""
    assert (await world.sync(MemorySource([product("1")]))).state is SyncState.SUCCEEDED


async def run_claimed(world: CatalogWorld, source: MemorySource | None = None) -> None:
    """Run the one claimable sync to its end."""
    await world.supervisor(source or MemorySource([product("1")])).run(await world.claim())


async def register(world: CatalogWorld, *shops: ShopKey) -> None:
    """Register shops without an active sync."""
    for shop in shops:
        created = await world.create_sync(shop)
        await world.commands.cancel(created.sync_id)


def shopify(count: int) -> list[ShopKey]:
    return [ShopKey("shopify", f"s{n}.myshopify.com") for n in range(count)]


async def make_due(world: CatalogWorld, *kinds: str, ago: str = "1 s", platform: str = "%") -> None:
    """Make these kinds of syncs due for all shops of the platform."""
    for kind in kinds:
        await world.execute(
            f"""UPDATE shop_schedule SET {kind}_due_at = clock_timestamp() - interval '{ago}'
                WHERE platform LIKE :platform""",
            platform=platform,
        )


async def make_longest_due(world: CatalogWorld, *shops: ShopKey) -> None:
    await world.execute(
        """UPDATE shop_schedule SET full_due_at = full_due_at - interval '1 h' FROM shop
           WHERE shop.shop_id = shop_schedule.shop_id AND shop.domain = ANY(:domains)""",
        domains=[shop.domain for shop in shops],
    )


async def stored(world: CatalogWorld) -> Mapping[Any, Any]:
    (row,) = await world.rows("SELECT *, clock_timestamp() AS now FROM shop_schedule")
    return row
