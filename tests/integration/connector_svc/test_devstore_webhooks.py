"""The connector verifies what the devstore sends: two implementations of each platform's signatures and topics."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
from catalogsync.connector.v1 import connector_service_pb2 as pb
from catalogsync.connector.v1.connector_service_pb2_grpc import ConnectorServiceStub
from catalogsync_common.channel import open_channel
from catalogsync_common.settings import ListenAddress

from connector_svc.bootstrap import running
from connector_svc.settings import ConnectorSettings
from devstore.catalog.change import Change, ChangeKind
from devstore.churn import CatalogMutator
from tests.fakes.webhook_listener import ReceivedDelivery
from tests.unit.devstore.webhook_shop import BIGCOMMERCE, SECRET, SHOPIFY, WOO, WebhookShop, is_ping, webhook_shop

SPECS = {"shopify": SHOPIFY, "woocommerce": WOO, "bigcommerce": BIGCOMMERCE}
WOO_TOPICS = (
    "product.created",
    "product.updated",
    "product.deleted",
    "product.restored",
    "action.woocommerce_delete_product",
    "action.woocommerce_delete_product_variation",
    "action.woocommerce_updated_product_stock",
)
CHANGES = 200


async def subscribe(shop: WebhookShop) -> None:
    """Create the webhooks that the documentation recommends."""
    platform = shop.spec.platform.value
    if platform == "woocommerce":
        for topic in WOO_TOPICS:
            await shop.create_woo(topic)
    elif platform == "shopify":
        for topic in ("PRODUCTS_CREATE", "PRODUCTS_UPDATE", "PRODUCTS_DELETE"):
            await shop.create_shopify(topic)
    else:
        headers = {"X-Catalogsync-Secret": SECRET, "X-Catalogsync-Shop": shop.spec.domain}
        for scope in ("store/product/*", "store/sku/*"):
            destination = f"{shop.listener.url}/hook"
            reply = await shop.bigcommerce("POST", scope=scope, destination=destination, headers=headers)
            assert reply.status == 200


@asynccontextmanager
async def connector(shop: WebhookShop, directory: Path) -> AsyncIterator[ConnectorServiceStub]:
    """Run a connector that knows the shop's webhook secret."""
    secrets = {
        "shopify": f'client_secret = "shpss_devstore_{shop.spec.domain}"',
        "woocommerce": f'webhook_secrets = ["{SECRET}"]',
        "bigcommerce": f'webhook_secrets = ["{SECRET}"]',
    }
    file = directory / "credentials.toml"
    name = shop.spec.platform.value
    file.write_text(f'[{name}."{shop.spec.domain}"]\n{secrets[name]}\n')
    file.chmod(0o600)
    settings = ConnectorSettings(
        listen_address=ListenAddress("127.0.0.1:0"),
        credentials_file=file,
        settle_delay=timedelta(0),
        stop_grace=timedelta(0),
    )
    async with running(settings) as port, open_channel(f"127.0.0.1:{port}") as channel:
        yield ConnectorServiceStub(channel)


def request_of(platform: str, delivery: ReceivedDelivery) -> pb.VerifyWebhookRequest:
    """Return the request that a receiver of the delivery makes."""
    request = pb.VerifyWebhookRequest(platform=platform, body=delivery.body)
    for name, value in delivery.headers:
        request.headers.add(name=name, value=value)
    return request


@dataclass(slots=True)
class Named:
    """The ids that verified deliveries name."""

    products: set[str] = field(default_factory=set)
    variants: set[str] = field(default_factory=set)

    def names(self, change: Change) -> bool:
        """Return whether a reader knows what to read again after a change."""
        if str(change.product_id) in self.products:
            return True
        # A deleted variation cannot be asked for its product; the receiver has stored that.
        return change.kind is ChangeKind.VARIANT_DELETED and str(change.variant_ids[0]) in self.variants


async def verify_all(stub: ConnectorServiceStub, shop: WebhookShop) -> Named:
    """Verify what was received, and clear the list."""
    named = Named()
    for delivery in await shop.deliveries(pings=True):
        found = await stub.VerifyWebhook(request_of(shop.spec.platform.value, delivery))
        assert (found.kind == found.KIND_PING) is is_ping(delivery)
        if found.kind == found.KIND_PRODUCTS:
            assert found.shop == pb.ShopRef(platform=shop.spec.platform.value, domain=shop.spec.domain)
        named.products.update(found.product_ids)
        named.variants.update(found.variant_ids)
    shop.listener.received.clear()
    return named


@pytest.mark.parametrize("platform", list(SPECS))
async def test_every_change_of_a_busy_shop_is_named_by_a_verified_delivery(platform: str, tmp_path: Path) -> None:
    async with webhook_shop(SPECS[platform], tmp_path / "tls") as shop, connector(shop, tmp_path) as stub:
        await subscribe(shop)
        changes: list[Change] = []
        notify = shop.catalog.on_change

        def record(change: Change) -> None:
            changes.append(change)
            notify(change)

        shop.catalog.on_change = record
        mutator = CatalogMutator([shop.catalog], Random(14))
        kinds: set[ChangeKind] = set()
        for _ in range(CHANGES):
            changes.clear()
            mutator.change()
            named = await verify_all(stub, shop)
            assert [change for change in changes if not named.names(change)] == []
            kinds |= {change.kind for change in changes}
        # Elsewhere there is no trash, and the churn changes variants only.
        only_woocommerce = {ChangeKind.PRODUCT_TRASHED, ChangeKind.PRODUCT_UPDATED}
        assert kinds == set(ChangeKind) - (set() if platform == "woocommerce" else only_woocommerce)
