"""Reading a shop that was never synced."""

from __future__ import annotations

from datetime import timedelta

import pytest
from catalogsync_common.failure import InvalidRequest

from catalog_svc.domain.errors import ShopNotFound
from catalog_svc.domain.schedule import ScheduleDefaults
from catalog_svc.domain.shop import ShopKey
from catalog_svc.storage.database import Database
from catalog_svc.storage.status import StatusStore
from catalog_svc.usecases.read_catalog import ReadCatalog
from tests.fakes.known_platforms import KnownPlatforms
from tests.integration.catalog_svc.conftest import SHOP, CatalogWorld


def reading(world: CatalogWorld, platforms: KnownPlatforms) -> ReadCatalog:
    return ReadCatalog(
        shops=world.shops,
        items=world.items,
        products=world.products,
        statuses=StatusStore(Database(world.engine)),
        platforms=platforms,
        defaults=ScheduleDefaults(incremental_every=timedelta(), full_every=timedelta()),
    )


@pytest.mark.parametrize(
    ("key", "field"),
    [
        (ShopKey("foo", "bar.example"), "shop.platform"),
        (ShopKey("shopify", "bar.example"), "shop.domain"),
    ],
)
async def test_a_shop_of_which_no_sync_can_be_started_is_an_invalid_request(
    world: CatalogWorld, key: ShopKey, field: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await reading(world, KnownPlatforms()).status(key)
    assert [violation.field for violation in caught.value.violations] == [field]


@pytest.mark.parametrize("answers", [True, False])
async def test_a_shop_that_was_never_synced_is_not_found_even_while_the_connector_is_unavailable(
    world: CatalogWorld, answers: bool
) -> None:
    with pytest.raises(ShopNotFound):
        await reading(world, KnownPlatforms(answers=answers)).status(SHOP)


async def test_a_shop_that_was_synced_can_be_read_whatever_the_connector_supports_now(world: CatalogWorld) -> None:
    await world.create_sync()
    assert (await reading(world, KnownPlatforms(platforms=())).status(SHOP)).shop.key == SHOP
