"""A shop of the devstore, a listener for its webhooks, and a client of the platform's API for webhooks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import aiohttp

from devstore.catalog.catalog import Catalog, now
from devstore.catalog.model import Platform
from devstore.server import RunningStore, serving
from devstore.spec import ShopSpec
from devstore.webhooks.sender import WebhookSender
from tests.fakes.webhook_listener import ReceivedDelivery, WebhookListener, listening
from tests.unit.devstore.conftest import Client, Reply, client_session
from tests.waiting import until

SECRET: Final = "lab-secret-plain-0123456789"
WOO = ShopSpec(platform=Platform.WOOCOMMERCE, domain="store.example", products=60, key_writes=True)
SHOPIFY = ShopSpec(platform=Platform.SHOPIFY, domain="demo.myshopify.com", products=40)
BIGCOMMERCE = ShopSpec(platform=Platform.BIGCOMMERCE, domain="store-abc123.mybigcommerce.com", products=40)
CREATE_SUBSCRIPTION: Final = """
mutation Create($topic: WebhookSubscriptionTopic!, $input: WebhookSubscriptionInput!) {
  webhookSubscriptionCreate(topic: $topic, webhookSubscription: $input) {
    webhookSubscription { id topic uri includeFields format }
    userErrors { field message }
  }
}
"""


@dataclass(slots=True)
class WebhookShop:
    """A running shop and its listener."""

    store: RunningStore
    spec: ShopSpec
    listener: WebhookListener
    client: Client

    @property
    def catalog(self) -> Catalog:
        return self.store.catalog(self.spec.domain)

    @property
    def sender(self) -> WebhookSender:
        return self.store.webhooks(self.spec.domain)

    async def idle(self) -> None:
        """Wait until no delivery waits."""
        await until(lambda: not self.sender.waiting)

    async def deliveries(self, *, pings: bool = False) -> list[ReceivedDelivery]:
        """Return what was received once no delivery waits."""
        await self.idle()
        return [one for one in self.listener.received if pings or not is_ping(one)]

    async def woo(self, method: str, path: str = "", **fields: Any) -> Reply:
        """Call /wc/v3/webhooks."""
        keys = self.spec.credentials
        basic = aiohttp.encode_basic_auth(keys["consumer_key"], keys["consumer_secret"])
        url = f"{self.store.base_url(self.spec.domain)}/wp-json/wc/v3/webhooks{path}"
        body = {"json": fields} if method in ("POST", "PUT") else {}
        return await self.client.send(method, url, headers={"Authorization": basic}, **body)

    async def create_woo(self, topic: str, path: str = "/hook", secret: str = SECRET) -> int:
        """Create a webhook of WooCommerce; return its id."""
        url = self.listener.url + path
        reply = await self.woo("POST", topic=topic, delivery_url=url, secret=secret)
        assert reply.status == 201, reply.raw
        return int(reply.body["id"])

    async def create_shopify(self, topic: str, **fields: Any) -> Any:
        """Create a subscription of Shopify; return the payload of the mutation."""
        values = {"uri": f"{self.listener.url}/hook", **fields}
        data = await self.client.data(CREATE_SUBSCRIPTION, domain=self.spec.domain, topic=topic, input=values)
        return data["webhookSubscriptionCreate"]

    async def bigcommerce(self, method: str, path: str = "", **fields: Any) -> Reply:
        """Call /v3/hooks."""
        store_hash = self.spec.domain.partition(".")[0].removeprefix("store-")
        url = f"{self.store.base_url(self.spec.domain)}/stores/{store_hash}/v3/hooks{path}"
        headers = {"X-Auth-Token": self.spec.credentials["access_token"]}
        body = {"json": fields} if method in ("POST", "PUT") else {}
        return await self.client.send(method, url, headers=headers, **body)

    async def create_bigcommerce(self, scope: str) -> int:
        """Create a webhook of BigCommerce; return its id."""
        reply = await self.bigcommerce(
            "POST", scope=scope, destination=f"{self.listener.url}/hook", headers={"X-Own": "own value"}
        )
        assert reply.status == 200, reply.raw
        return int(reply.body["data"]["id"])


def is_ping(delivery: ReceivedDelivery) -> bool:
    """Return whether a delivery is WooCommerce's ping."""
    return delivery.body.startswith(b"webhook_id=")


@asynccontextmanager
async def webhook_shop(
    spec: ShopSpec, tls_dir: Path, *, clock: Callable[[], datetime] = now, **changes: Any
) -> AsyncIterator[WebhookShop]:
    """Run a shop and a listener; `changes`: other fields of the spec."""
    changed = replace(spec, **changes)
    async with (
        listening() as listener,
        serving([changed], tls_dir=tls_dir, throttle=False, clock=clock) as store,
        client_session(store) as session,
    ):
        yield WebhookShop(store, changed, listener, Client(store=store, session=session))
