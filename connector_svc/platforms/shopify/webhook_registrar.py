"""Lists and creates the webhook subscriptions of our app in a Shopify shop.

Shopify does not disable a subscription: it removes one whose deliveries fail for hours.
"""

from __future__ import annotations

from typing import Final

import msgspec

from connector_svc.domain.errors import SourceQueryRefused
from connector_svc.domain.webhook import WebhookState, WebhookSubscription
from connector_svc.platforms.shopify.client import ShopifyClient
from connector_svc.platforms.shopify.queries import Query
from connector_svc.platforms.shopify.wire import Connection, Wire, numeric_id

# Shopify drops a delivery with the payload of an earlier one, so the payload must contain what changes.
_FIELDS: Final = ("id", "updated_at", "variants.id", "variants.updated_at", "variants.inventory_quantity")
TOPICS: Final = {
    "PRODUCTS_CREATE": _FIELDS,
    "PRODUCTS_UPDATE": _FIELDS,
    "PRODUCTS_DELETE": ("id",),
}
"""The topics that we need, and the fields of their payloads."""
_PAGE_SIZE: Final = 250
"""Far more than an app has for three topics."""

WEBHOOKS: Final = Query(
    name="Webhooks",
    text="""\
query Webhooks($first: Int!, $topics: [WebhookSubscriptionTopic!]) {
  webhookSubscriptions(first: $first, topics: $topics) { nodes { id topic uri } }
}""",
)
CREATE_WEBHOOK: Final = Query(
    name="CreateWebhook",
    text="""\
mutation CreateWebhook($topic: WebhookSubscriptionTopic!, $webhook: WebhookSubscriptionInput!) {
  webhookSubscriptionCreate(topic: $topic, webhookSubscription: $webhook) {
    webhookSubscription { id topic uri }
    userErrors { field message }
  }
}""",
    idempotent=False,
)


class _Subscription(Wire, frozen=True, kw_only=True):
    id: str
    topic: str
    uri: str

    def to_subscription(self, *, changed: bool = False) -> WebhookSubscription:
        return WebhookSubscription(
            id=numeric_id(self.id, "WebhookSubscription"),
            topic=self.topic,
            address=self.uri,
            state=WebhookState.ACTIVE,
            changed=changed,
        )


class _SubscriptionsData(Wire, frozen=True, kw_only=True):
    webhook_subscriptions: Connection[_Subscription]


class _UserError(Wire, frozen=True, kw_only=True):
    field: list[str] | None = None


class _Created(Wire, frozen=True, kw_only=True):
    webhook_subscription: _Subscription | None
    user_errors: list[_UserError]


class _CreatedData(Wire, frozen=True, kw_only=True):
    webhook_subscription_create: _Created


_LIST_DATA: Final = msgspec.json.Decoder(_SubscriptionsData)
_CREATED_DATA: Final = msgspec.json.Decoder(_CreatedData)


class SubscriptionStore:
    """The subscriptions of our app in one shop; those of other apps are not visible to it."""

    def __init__(self, client: ShopifyClient) -> None:
        self._client = client

    async def list_own(self) -> tuple[WebhookSubscription, ...]:
        """See `WebhookRegistrar.webhooks`."""
        own = await self._read_all()
        found = {one.topic for one in own}
        missing = (WebhookSubscription.missing(topic) for topic in TOPICS if topic not in found)
        return (*(one.to_subscription() for one in own), *missing)

    async def ensure(self, address: str) -> tuple[WebhookSubscription, ...]:
        """See `WebhookRegistrar.ensure_webhooks`. The app's client secret signs all deliveries."""
        existing = {one.topic: one for one in await self._read_all() if one.uri == address}
        return tuple(
            [
                existing[topic].to_subscription() if topic in existing else await self._create(topic, address)
                for topic in TOPICS
            ]
        )

    async def _read_all(self) -> list[_Subscription]:
        variables = {"first": _PAGE_SIZE, "topics": list(TOPICS)}
        response = await self._client.call_or_fail(WEBHOOKS, variables)
        return self._client.decode(response, _LIST_DATA).webhook_subscriptions.nodes

    async def _create(self, topic: str, address: str) -> WebhookSubscription:
        webhook = {"uri": address, "format": "JSON", "includeFields": list(TOPICS[topic])}
        response = await self._client.call_or_fail(CREATE_WEBHOOK, {"topic": topic, "webhook": webhook})
        created = self._client.decode(response, _CREATED_DATA).webhook_subscription_create
        if created.webhook_subscription is None:
            fields = sorted({".".join(error.field or ()) or "unknown" for error in created.user_errors})
            raise SourceQueryRefused(self._client.shop, f"Shopify accepts no webhook for {topic}: {fields[:3]}")
        return created.webhook_subscription.to_subscription(changed=True)
