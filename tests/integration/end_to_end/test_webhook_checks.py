"""The check of webhooks: a running catalog creates and repairs them by the connector, and shows the result."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

import pytest
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from catalogsync.connector.v1 import connector_service_pb2 as connector_pb
from catalogsync.connector.v1.connector_service_pb2_grpc import ConnectorServiceStub
from catalogsync.errors.v1.error_reason_pb2 import ErrorReason
from catalogsync_common.channel import open_channel
from catalogsync_common.settings import ListenAddress
from pydantic import SecretStr

from catalog_svc import bootstrap
from catalog_svc.settings import CatalogSettings
from tests.integration.end_to_end.conftest import EndToEnd, Opens
from tests.pgbouncer import is_pooled
from tests.waiting import until_found

# Nothing listens there: no delivery succeeds.
ADDRESS: Final = "http://127.0.0.1:9/hooks/{platform}/{domain}"
PLATFORMS: Final = ("shopify", "woocommerce-10.3", "bigcommerce")
_LET_IT_BE_DUE: Final = "UPDATE shop_webhooks SET attempted_at = attempted_at - interval '25 h'"


@asynccontextmanager
async def catalog(shop: EndToEnd, database_url: str) -> AsyncIterator[CatalogServiceStub]:
    """Run a catalog that checks webhooks at once."""
    settings = CatalogSettings(
        database_url=SecretStr(database_url),
        database_pooled=is_pooled(database_url),
        listen_address=ListenAddress("127.0.0.1:0"),
        connector_address=shop.connector_address,
        webhook_address=ADDRESS,
        settle_delay=timedelta(0),
        stop_grace=timedelta(0),
    )
    async with bootstrap.running(settings) as port, open_channel(f"127.0.0.1:{port}") as channel:
        yield CatalogServiceStub(channel)


async def checked(shop: EndToEnd, stub: CatalogServiceStub) -> pb.WebhookHealth:
    """Return the health of the shop's webhooks once they were checked."""
    request = pb.GetShopRequest(shop=pb.ShopRef(platform=shop.platform, domain=shop.domain))

    async def find() -> pb.WebhookHealth | None:
        attempted = await shop.world.rows(
            "SELECT 1 FROM shop_webhooks WHERE attempted_at > now() - interval '1 h'"
        )
        return (await stub.GetShop(request)).shop.webhooks if attempted else None

    return await until_found(find)


async def webhooks_of(shop: EndToEnd) -> list[connector_pb.WebhookSubscription]:
    """Return the shop's webhooks as the platform has them."""
    ref = connector_pb.ShopRef(platform=shop.platform, domain=shop.domain)
    async with open_channel(shop.connector_address) as channel:
        return list(
            (await ConnectorServiceStub(channel).CheckShop(connector_pb.CheckShopRequest(shop=ref))).webhooks
        )


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_missing_webhooks_are_created_at_the_address_of_the_shop_and_then_left_as_they_are(
    opens: Opens, database_url: str, platform: str
) -> None:
    options = {"key_writes": True} if platform.startswith("woocommerce") else {}
    async with opens(platform, products=3, edge_cases=False, **options) as shop:
        await shop.succeed()
        async with catalog(shop, database_url) as stub:
            first = await checked(shop, stub)
        created = await webhooks_of(shop)
        assert {(one.address, one.state) for one in created} == {
            (
                f"http://127.0.0.1:9/hooks/{shop.platform}/{shop.domain}",
                connector_pb.WebhookSubscription.STATE_ACTIVE,
            )
        }
        assert (first.state, first.repaired_count) == (pb.WebhookHealth.STATE_ACTIVE, len(created))
        assert first.HasField("last_check_time")
        await shop.world.execute(_LET_IT_BE_DUE)
        async with catalog(shop, database_url) as stub:
            second = await checked(shop, stub)
        assert (second.state, second.repaired_count) == (pb.WebhookHealth.STATE_ACTIVE, 0)
        assert await webhooks_of(shop) == created


async def test_a_key_that_may_only_read_is_shown(opens: Opens, database_url: str) -> None:
    async with opens("woocommerce-10.3", products=3, edge_cases=False) as shop:
        await shop.succeed()
        async with catalog(shop, database_url) as stub:
            health = await checked(shop, stub)
        assert health.state == pb.WebhookHealth.STATE_FAILING
        assert health.reason == ErrorReason.ERROR_REASON_SOURCE_FORBIDDEN
        assert health.message
        assert not health.HasField("last_check_time")


async def test_a_shop_of_a_platform_without_webhooks_is_not_checked(opens: Opens, database_url: str) -> None:
    async with opens("feed", products=3, edge_cases=False) as shop:
        await shop.succeed()
        async with catalog(shop, database_url) as stub:

            async def has_looked() -> bool | None:
                return (
                    bool(await shop.world.rows("SELECT 1 FROM loop_lease WHERE name = 'webhook checks'")) or None
                )

            await until_found(has_looked)
            request = pb.GetShopRequest(shop=pb.ShopRef(platform=shop.platform, domain=shop.domain))
            health = (await stub.GetShop(request)).shop.webhooks
        assert health == pb.WebhookHealth()
        assert await shop.world.rows("SELECT 1 FROM shop_webhooks") == []
