"""Shops are registered once, listed by index, changed field by field, and recognised as one store."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from catalogsync_common.failure import InvalidRequest
from sqlalchemy.ext.asyncio import AsyncEngine

from catalog_svc.domain.errors import ConnectorUnavailable, ShopAlreadyRegistered, ShopNotFound, SourceFailed
from catalog_svc.domain.schedule import ScheduleDefaults
from catalog_svc.domain.shop import ShopChange, ShopField, ShopKey
from catalog_svc.domain.status import ConnectionHealth, ConnectionState, ShopDetails, ShopFilter
from catalog_svc.domain.sync import Sync
from catalog_svc.storage.database import Database
from catalog_svc.storage.product_reads import ProductStore
from catalog_svc.storage.shop_directory import ShopDirectoryStore
from catalog_svc.storage.status import StatusStore
from catalog_svc.usecases.read_catalog import ReadCatalog
from catalog_svc.usecases.shops import ManageShops
from tests.fakes.known_platforms import KnownPlatforms
from tests.fakes.product_source import MemorySource, product
from tests.integration.catalog_svc.conftest import SHOP, CatalogWorld
from tests.integration.catalog_svc.plans import plans_of, recorded

OTHER = ShopKey("shopify", "other.myshopify.com")
WOO = ShopKey("woocommerce", "store.example")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
DEFAULTS = ScheduleDefaults(incremental_every=HOUR, full_every=DAY)
REVOKED = SourceFailed(reason="SOURCE_UNAUTHORIZED", message="connect the shop again", transient=False)


class Shops:
    """The use cases over the world's database."""

    def __init__(self, world: CatalogWorld, *, connector_answers: bool = True) -> None:
        database, platforms = Database(world.engine), KnownPlatforms(answers=connector_answers)
        self.directory = ShopDirectoryStore(database)
        read = ReadCatalog(
            shops=world.shops,
            items=world.items,
            products=ProductStore(database),
            statuses=StatusStore(database),
            platforms=platforms,
            defaults=DEFAULTS,
        )
        self._manage = ManageShops(
            shops=world.shops,
            directory=self.directory,
            read_directory=self.directory,
            platforms=platforms,
            read=read,
            defaults=DEFAULTS,
        )
        self.get, self.page = self._manage.get, self._manage.page

    async def register(self, key: ShopKey = SHOP, *, merchant: str = "", name: str = "") -> ShopDetails:
        return await self._manage.register(key, merchant_id=merchant, display_name=name)

    async def update(self, ref: UUID | ShopKey, *fields: ShopField, **values: Any) -> ShopDetails:
        return await self._manage.update(ref, ShopChange(fields=frozenset(fields), **values))


@pytest.fixture
def shops(world: CatalogWorld) -> Shops:
    return Shops(world)


async def synced(world: CatalogWorld, source: MemorySource, shop: ShopKey = SHOP) -> Sync:
    created = await world.create_sync(shop=shop)
    await world.supervisor(source).run(await world.claim())
    return await world.syncs.get(created.sync_id)


async def test_a_registered_shop_is_known_without_a_sync(world: CatalogWorld, shops: Shops) -> None:
    registered = await shops.register(merchant="acme", name="Acme EU")
    assert (registered.shop.key, registered.shop.merchant_id, registered.shop.name) == (SHOP, "acme", "Acme EU")
    assert registered.connection == ConnectionHealth()
    assert (registered.schedule.incremental_every, registered.schedule.incremental_is_default) == (HOUR, True)
    for ref in (SHOP, registered.shop.shop_id):
        assert await shops.get(ref) == registered
    assert (await world.create_sync()).shop.shop_id == registered.shop.shop_id


async def test_registering_again_returns_the_shop_as_it_is(shops: Shops) -> None:
    registered = await shops.register(merchant="acme", name="Acme EU")
    assert await shops.register() == registered
    assert await shops.register(merchant="acme", name="Another name") == registered


async def test_a_shop_of_another_merchant_is_named_and_not_taken_over(world: CatalogWorld, shops: Shops) -> None:
    registered = await shops.register(merchant="acme")
    started = (await world.create_sync(shop=OTHER)).shop
    for key, shop_id, why in (
        (SHOP, registered.shop.shop_id, "for another merchant"),
        (OTHER, started.shop_id, "without a merchant; UpdateShop sets one"),
    ):
        with pytest.raises(ShopAlreadyRegistered, match=why) as rejected:
            await shops.register(key, merchant="rival")
        assert rejected.value.metadata == {"shop_id": str(shop_id)}
        assert rejected.value.resource is not None
        assert rejected.value.resource.name == str(shop_id)
    assert (await shops.get(SHOP)).shop.merchant_id == "acme"


async def test_one_of_many_concurrent_registrations_wins(world: CatalogWorld, engine: AsyncEngine) -> None:
    replicas = [Shops(CatalogWorld(engine)) for _ in range(8)]
    found = await asyncio.gather(*(one.register(merchant="acme") for one in replicas))
    assert len({one.shop.shop_id for one in found}) == 1
    for table in ("shop", "shop_state", "shop_schedule"):
        assert len(await world.rows(f"SELECT 1 FROM {table}")) == 1


@pytest.mark.parametrize(
    ("key", "field"),
    [(ShopKey("amazon", "a.example"), "platform"), (ShopKey("shopify", "a.example"), "domain")],
)
async def test_a_shop_that_no_connector_reads_is_not_registered(shops: Shops, key: ShopKey, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await shops.register(key)
    assert [violation.field for violation in caught.value.violations] == [field]


async def test_without_the_connector_only_known_shops_are_registered(world: CatalogWorld, shops: Shops) -> None:
    registered = await shops.register()
    offline = Shops(world, connector_answers=False)
    assert await offline.register() == registered
    with pytest.raises(ConnectorUnavailable):
        await offline.register(OTHER)


async def test_the_name_is_the_callers_else_the_platforms(world: CatalogWorld, shops: Shops) -> None:
    assert (await shops.register()).shop.name == ""
    sync = await synced(world, MemorySource([product("1")]))
    assert (sync.shop.name, (await shops.get(SHOP)).shop.name) == ("Demo", "Demo")
    assert (await shops.update(SHOP, ShopField.DISPLAY_NAME, display_name="Ours")).shop.name == "Ours"
    assert (await synced(world, MemorySource([product("1")]))).shop.name == "Ours"
    assert (await shops.update(SHOP, ShopField.DISPLAY_NAME)).shop.name == "Demo"


async def test_the_connection_is_that_of_the_last_sync(world: CatalogWorld, shops: Shops) -> None:
    registered = await shops.register()
    await synced(world, MemorySource([product("1")]))
    healthy = await shops.get(SHOP)
    assert healthy.connection == ConnectionHealth(state=ConnectionState.HEALTHY)
    assert healthy.updated_at > registered.updated_at
    failing = MemorySource([product("1")])
    failing.failures = {0: [REVOKED]}
    await synced(world, failing)
    assert (await shops.get(SHOP)).connection == ConnectionHealth(
        state=ConnectionState.BROKEN, reason="SOURCE_UNAUTHORIZED", message="connect the shop again"
    )


async def test_an_update_changes_only_the_fields_that_it_names(shops: Shops) -> None:
    before = await shops.register(merchant="acme", name="Ours")
    ignored = {"display_name": "no", "incremental_every": DAY, "full_every": DAY, "paused": True}
    after = await shops.update(SHOP, ShopField.MERCHANT_ID, merchant_id="rival", **ignored)
    assert after == replace(before, shop=replace(before.shop, merchant_id="rival"), updated_at=after.updated_at)
    assert after.updated_at > before.updated_at
    assert await shops.update(SHOP, ShopField.MERCHANT_ID, merchant_id="rival") == after


async def test_a_named_field_without_a_value_is_reset(shops: Shops) -> None:
    await shops.register(merchant="acme", name="Ours")
    everything = tuple(ShopField)
    set_all = await shops.update(
        SHOP,
        *everything,
        merchant_id="rival",
        display_name="Theirs",
        incremental_every=timedelta(minutes=5),
        full_every=timedelta(),
        paused=True,
    )
    schedule = set_all.schedule
    assert (schedule.incremental_every, schedule.full_every) == (timedelta(minutes=5), timedelta())
    assert (schedule.incremental_is_default, schedule.full_is_default, schedule.paused) == (False, False, True)
    assert schedule.next_due_at is None
    reset = await shops.update(SHOP, *everything)
    assert (reset.shop.merchant_id, reset.shop.name) == ("", "")
    assert (reset.schedule.incremental_every, reset.schedule.full_every) == (HOUR, DAY)
    assert (reset.schedule.incremental_is_default, reset.schedule.full_is_default) == (True, True)
    assert reset.schedule.paused is False


async def test_a_changed_interval_moves_the_due_time(world: CatalogWorld, shops: Shops) -> None:
    await shops.register()
    fields = (ShopField.INCREMENTAL_INTERVAL, ShopField.FULL_INTERVAL)
    await shops.update(SHOP, *fields, incremental_every=timedelta(), full_every=30 * DAY)
    changed = await shops.update(SHOP, *fields, incremental_every=timedelta(minutes=5), full_every=timedelta())
    (row,) = await world.rows("SELECT clock_timestamp() AS now, * FROM shop_schedule")
    assert changed.schedule.next_due_at == row["incremental_due_at"] == row["next_due_at"]
    assert row["now"] - HOUR < row["incremental_due_at"] <= row["now"] + timedelta(minutes=5)
    assert row["full_due_at"] is None


async def test_concurrent_updates_of_different_fields_all_take_effect(
    world: CatalogWorld, engine: AsyncEngine
) -> None:
    await Shops(world).register()
    replicas = [Shops(CatalogWorld(engine)) for _ in range(4)]
    await asyncio.gather(
        replicas[0].update(SHOP, ShopField.MERCHANT_ID, merchant_id="acme"),
        replicas[1].update(SHOP, ShopField.DISPLAY_NAME, display_name="Ours"),
        replicas[2].update(SHOP, ShopField.FULL_INTERVAL, full_every=2 * DAY),
        replicas[3].update(SHOP, ShopField.PAUSED, paused=True),
    )
    found = await replicas[0].get(SHOP)
    assert (found.shop.merchant_id, found.shop.name) == ("acme", "Ours")
    assert (found.schedule.full_every, found.schedule.paused) == (2 * DAY, True)


async def test_an_unknown_shop_is_neither_shown_nor_changed(shops: Shops) -> None:
    for ref in (SHOP, UUID(int=7)):
        with pytest.raises(ShopNotFound):
            await shops.get(ref)
        with pytest.raises(ShopNotFound):
            await shops.update(ref, ShopField.PAUSED, paused=True)


async def listed(shops: Shops, *, size: int, **filters: Any) -> list[ShopDetails]:
    """Return all shops of a list, read page by page."""
    found: list[ShopDetails] = []
    while page := await shops.page(
        ShopFilter(**filters), after=found[-1].shop.shop_id if found else None, limit=size
    ):
        found += page
    return found


async def test_shops_are_listed_by_every_filter_and_all_of_them_together(
    world: CatalogWorld, shops: Shops
) -> None:
    keys = {
        f"{platform}-{merchant or 'none'}-{number}": await shops.register(
            ShopKey(platform, f"{platform}-{merchant or 'none'}-{number}.myshopify.com"), merchant=merchant
        )
        for platform in ("shopify", "woocommerce")
        for merchant in ("", "acme", "rival")
        for number in range(2)
    }
    broken = [name for name in keys if name.endswith("-1")]
    for name, details in keys.items():
        await world.execute(
            "UPDATE shop SET connection_state = :state WHERE shop_id = :id",
            state="BROKEN" if name in broken else "HEALTHY",
            id=details.shop.shop_id,
        )

    def expected(*parts: str) -> list[UUID]:
        return sorted(each.shop.shop_id for name, each in keys.items() if all(part in name for part in parts))

    for filters, parts in (
        ({}, ()),
        ({"merchant_id": "acme"}, ("-acme",)),
        ({"platform": "woocommerce"}, ("woocommerce-",)),
        ({"connection": ConnectionState.BROKEN}, ("-1",)),
        ({"connection": ConnectionState.FAILING}, ("nothing",)),
        ({"merchant_id": "rival", "platform": "shopify"}, ("shopify-rival",)),
        ({"platform": "shopify", "connection": ConnectionState.HEALTHY}, ("shopify-", "-0")),
        (
            {"merchant_id": "acme", "platform": "shopify", "connection": ConnectionState.BROKEN},
            ("shopify-acme-1",),
        ),
    ):
        found = await listed(shops, size=2, **filters)
        assert [each.shop.shop_id for each in found] == expected(*parts), filters


@pytest.mark.needs_session("plans are explained on a connection of their own")
@pytest.mark.parametrize(
    ("filters", "index"),
    [
        ({}, "shop_pkey"),
        ({"merchant_id": "merchant-7"}, "shop_by_merchant"),
        ({"platform": "bigcommerce"}, "shop_by_platform"),
        ({"connection": ConnectionState.BROKEN}, "shop_by_connection"),
        ({"merchant_id": "merchant-7", "connection": ConnectionState.BROKEN}, "shop_by_merchant"),
    ],
)
async def test_a_page_of_shops_reads_an_index_and_not_all_shops(
    world: CatalogWorld, shops: Shops, filters: dict[str, Any], index: str
) -> None:
    await world.execute(
        """
        INSERT INTO shop (shop_id, platform, domain, merchant_id, connection_state, platform_shop_id)
        SELECT gen_random_uuid(), CASE WHEN n % 100 = 0 THEN 'bigcommerce' ELSE 'shopify' END, n || '.example',
            'merchant-' || n % 1000, CASE WHEN n % 100 = 1 THEN 'BROKEN' ELSE 'HEALTHY' END, CAST(n AS text)
        FROM generate_series(1, 10000) AS n"""
    )
    await world.execute("INSERT INTO shop_schedule (shop_id, platform) SELECT shop_id, platform FROM shop")
    await world.execute("ANALYZE shop, shop_schedule")
    with recorded(world.engine) as statements:
        await shops.page(ShopFilter(**filters), after=UUID(int=5), limit=51)
    (page,) = await plans_of(world.engine, statements, "shop_page")
    # Not for a page without shops.
    same_store = await plans_of(world.engine, statements, "same_store_shops")
    assert index in page.text
    assert page.full_scans == ()
    assert all("shop_by_platform_shop_id" in plan.text for plan in same_store)


async def test_two_domains_of_one_store_name_each_other(world: CatalogWorld, shops: Shops) -> None:
    first = await synced(world, MemorySource([product("1")]))
    assert first.notes == ()
    second = await synced(world, MemorySource([product("1")]), OTHER)
    (note,) = second.notes
    assert note == (
        "The shop is the same store as demo.myshopify.com: its products are synced and counted once for each "
        "domain. Delete the shops that are not needed."
    )
    one, other = await shops.get(SHOP), await shops.get(OTHER)
    assert one.same_store_shop_ids == (other.shop.shop_id,)
    assert other.same_store_shop_ids == (one.shop.shop_id,)
    # The other shop's next sync says so too, and the status of both.
    assert (await synced(world, MemorySource([product("1")]))).notes == (note.replace("demo.", "other."),)
    found = await world.shops.find(OTHER)
    assert found is not None
    assert found.notes == (note,)


async def test_shops_are_one_store_only_on_one_platform_and_with_an_id(world: CatalogWorld, shops: Shops) -> None:
    for key, platform_shop_id in ((SHOP, "4711"), (WOO, "4711"), (OTHER, "4712")):
        source = MemorySource([product("1")])
        source.platform_shop_id = platform_shop_id
        assert (await synced(world, source, key)).notes == ()
    nameless = [ShopKey("feed", f"{name}.example") for name in "ab"]
    for key in nameless:
        source = MemorySource([product("1")])
        source.platform_shop_id = ""
        assert (await synced(world, source, key)).notes == ()
    for key in (SHOP, WOO, OTHER, *nameless):
        assert (await shops.get(key)).same_store_shop_ids == ()
