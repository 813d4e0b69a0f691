"""Records of webhook checks: which shops are due, and what is shown of a check that failed."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest

from catalog_svc.domain.errors import SourceFailed
from catalog_svc.domain.shop import Shop
from catalog_svc.domain.webhook_health import EnsuredWebhooks, WebhookState
from catalog_svc.storage.database import Database
from catalog_svc.storage.shop_webhooks import WebhookRecordStore
from tests.integration.catalog_svc.conftest import CatalogWorld
from tests.integration.catalog_svc.test_webhook_silence import Silence

ALL_WORK = EnsuredWebhooks(active=3, inactive=0, repaired=0)
UNREACHABLE = SourceFailed(reason="SOURCE_UNREACHABLE", message="the shop does not answer", transient=True)
NO_SECRET = SourceFailed(reason="CREDENTIALS_NOT_FOUND", message="no webhook secret", transient=False)


class Checked(Silence):
    """A synced shop whose webhooks are checked."""

    def __init__(self, world: CatalogWorld) -> None:
        super().__init__(world)
        self.store = WebhookRecordStore(Database(world.engine))

    async def due(self, *platforms: str) -> list[UUID]:
        return await self.store.due(
            interval=timedelta(days=1),
            retry_interval=timedelta(hours=1),
            platforms=platforms or ("shopify",),
            limit=9,
        )


@pytest.fixture
async def checked(world: CatalogWorld) -> Checked:
    found = Checked(world)
    await world.sync(found.source)
    return found


@pytest.fixture
async def shop(checked: Checked) -> Shop:
    return await checked.shop()


async def test_a_healthy_shop_of_a_platform_with_webhooks_is_due_once_a_day(checked: Checked, shop: Shop) -> None:
    assert await checked.due("woocommerce") == []
    assert await checked.due() == [shop.shop_id]
    await checked.store.repaired(shop, ALL_WORK)
    assert await checked.due() == []
    await checked.age("25 h")
    assert await checked.due() == [shop.shop_id]
    await checked.world.execute("UPDATE shop SET connection_state = 'BROKEN'")
    assert await checked.due() == []


async def test_a_check_that_must_be_repeated_is_due_after_an_hour(checked: Checked, shop: Shop) -> None:
    await checked.store.failed(shop, UNREACHABLE, must_retry=True)
    assert await checked.due() == []
    await checked.age("61 min")
    assert await checked.due() == [shop.shop_id]
    await checked.store.failed(shop, NO_SECRET, must_retry=False)
    await checked.age("61 min")
    assert await checked.due() == []
    await checked.store.postpone(shop)
    await checked.age("61 min")
    assert await checked.due() == [shop.shop_id]


async def test_silent_webhooks_are_checked_at_most_once_an_hour(checked: Checked, shop: Shop) -> None:
    await checked.store.repaired(shop, ALL_WORK)
    await checked.age("59 min")
    await checked.find_change()
    assert await checked.due() == []
    await checked.age("2 min")
    assert await checked.due() == [shop.shop_id]
    await checked.store.repaired(shop, ALL_WORK)
    await checked.age("61 min")
    assert await checked.due() == []


async def test_a_failed_check_is_shown_and_a_later_one_replaces_it(checked: Checked, shop: Shop) -> None:
    await checked.store.repaired(shop, ALL_WORK)
    checked_at = (await checked.health()).checked_at
    await checked.store.failed(shop, UNREACHABLE, must_retry=True)
    health = await checked.health()
    assert (health.state, health.failure_reason) == (WebhookState.FAILING, "SOURCE_UNREACHABLE")
    assert (health.failure_message, health.checked_at) == ("the shop does not answer", checked_at)
    # That the connector did not answer says nothing new.
    await checked.store.postpone(shop)
    assert await checked.health() == health
    await checked.store.repaired(shop, ALL_WORK)
    assert (await checked.health()).state is WebhookState.ACTIVE


async def test_a_shop_that_is_not_set_up_for_webhooks_does_not_fail_unless_it_had_some(
    checked: Checked, shop: Shop
) -> None:
    await checked.store.failed(shop, NO_SECRET, must_retry=False)
    assert await checked.state() is WebhookState.UNSPECIFIED
    await checked.deliver()
    assert await checked.state() is WebhookState.FAILING


async def test_webhooks_of_which_none_works_are_not_known_to_work(checked: Checked, shop: Shop) -> None:
    await checked.store.repaired(shop, EnsuredWebhooks(active=0, inactive=3, repaired=0))
    assert (await checked.health()).known_since is None


async def test_a_shop_that_was_deleted_gets_no_record(checked: Checked, shop: Shop) -> None:
    await checked.world.execute("DELETE FROM shop")
    await checked.store.repaired(shop, ALL_WORK)
    await checked.store.failed(shop, UNREACHABLE, must_retry=True)
    await checked.store.postpone(shop)
    assert await checked.world.rows("SELECT 1 FROM shop_webhooks") == []
