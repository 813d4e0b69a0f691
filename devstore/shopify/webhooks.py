"""The webhook subscriptions of a Shopify shop's app, and their deliveries.

Source: https://shopify.dev/docs/apps/build/webhooks/delivery-structure
"""

from __future__ import annotations

import base64
import hmac
import itertools
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from devstore.catalog.catalog import Catalog
from devstore.catalog.change import Change, ChangeKind
from devstore.shopify.scalars import SUPPORTED_VERSIONS, gid
from devstore.shopify.webhook_payload import product_payload, select_fields
from devstore.webhooks.sender import DeliveryPolicy, Message, QueuedDelivery, WebhookSender

DELIVERY_POLICY: Final = DeliveryPolicy(
    concurrency=4,
    timeout_seconds=5,
    # Eight retries within four hours; how they are spread is not published.
    retry_delays_seconds=(60, 120, 240, 480, 960, 1_920, 3_840, 6_780),
)
_API_VERSION: Final = SUPPORTED_VERSIONS[-1]
_TOPICS: Final = {
    "PRODUCTS_CREATE": "products/create",
    "PRODUCTS_UPDATE": "products/update",
    "PRODUCTS_DELETE": "products/delete",
}
"""The topics that fire; others can be subscribed to."""


@dataclass(slots=True, kw_only=True)
class Subscription:
    """A subscription."""

    id: int
    topic: str
    """A value of the enum WebhookSubscriptionTopic."""
    uri: str
    include_fields: tuple[str, ...]
    filter: str
    created: datetime
    updated: datetime
    site: str
    """The base URL of the request that created it, for the image URLs of payloads."""


class ShopifyWebhooks:
    """All subscriptions of the shop's app."""

    def __init__(
        self,
        catalog: Catalog,
        sender: WebhookSender,
        *,
        secret: str,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Create the subscriptions; `secret` is the app's client secret, which signs deliveries."""
        self._catalog = catalog
        self._sender = sender
        self._secret = secret
        self._clock = clock
        self._subscriptions: dict[int, Subscription] = {}
        self._ids = itertools.count(1_100_000_000_001)

    # -- subscriptions

    def list(self, topics: Sequence[str] | None = None, uri: str | None = None) -> list[Subscription]:
        """Return the subscriptions of any of these topics and this address, the oldest first."""
        return [
            one
            for one in self._subscriptions.values()
            if (not topics or one.topic in topics) and uri in (None, one.uri)
        ]

    def get(self, number: int) -> Subscription | None:
        return self._subscriptions.get(number)

    def create(self, topic: str, fields: Mapping[str, Any], site: str) -> Subscription | str:
        """Create a subscription. Return the message of a userError if that is not possible."""
        uri = fields.get("uri") or fields.get("callbackUrl") or ""
        # The platform accepts https only; a devstore on a laptop sends over http as well.
        if not uri.startswith(("https://", "http://")):
            return "Address is invalid"
        if self.list([topic], uri):
            return "Address for this topic has already been taken"
        now = self._clock()
        created = Subscription(
            id=next(self._ids),
            topic=topic,
            uri=uri,
            include_fields=tuple(fields.get("includeFields") or ()),
            filter=fields.get("filter") or "",
            created=now,
            updated=now,
            site=site,
        )
        self._subscriptions[created.id] = created
        return created

    def update(self, number: int, fields: Mapping[str, Any]) -> Subscription | None:
        """Change the given fields; None: the subscription does not exist."""
        found = self._subscriptions.get(number)
        if found is not None:
            found.uri = fields.get("uri") or fields.get("callbackUrl") or found.uri
            found.include_fields = tuple(fields.get("includeFields", found.include_fields) or ())
            found.filter = fields.get("filter", found.filter) or ""
            found.updated = self._clock()
        return found

    def delete(self, number: int) -> bool:
        """Delete a subscription; return whether it existed."""
        return self._subscriptions.pop(number, None) is not None

    # -- deliveries

    def notify(self, change: Change) -> None:
        """Queue a delivery for each subscription to the topic of a change."""
        topic = _fired_topic(change)
        # All deliveries of a change have one event id.
        event_id, now = str(uuid.uuid4()), self._clock()
        for subscription in self.list([topic]):
            body = self._body(subscription, change)
            headers = self._headers(subscription, body, change.product_id, event_id, now)
            self._sender.enqueue(self._delivery(subscription, Message(headers=headers, body=body)))

    def _delivery(self, subscription: Subscription, message: Message) -> QueuedDelivery:
        def prepare() -> Message | None:
            return message if subscription.id in self._subscriptions else None

        def remove_after_failure(succeeded: bool) -> None:
            # A subscription that was made over the API is removed after its retries.
            if not succeeded:
                self.delete(subscription.id)

        return QueuedDelivery(
            topic=_TOPICS[subscription.topic],
            url=subscription.uri,
            prepare=prepare,
            on_result=remove_after_failure,
        )

    def _body(self, subscription: Subscription, change: Change) -> bytes:
        product = self._catalog.product(change.product_id)
        payload = (
            {"id": change.product_id} if product is None else product_payload(product, site=subscription.site)
        )
        return msgspec.json.encode(select_fields(payload, subscription.include_fields))

    def _headers(
        self, subscription: Subscription, body: bytes, product_id: int, event_id: str, now: datetime
    ) -> dict[str, str]:
        return {
            "Accept": "*/*",
            "Accept-Encoding": "gzip;q=1.0,deflate;q=0.6,identity;q=0.3",
            "User-Agent": "Shopify-Captain-Hook",
            "Content-Type": "application/json",
            "X-Shopify-Topic": _TOPICS[subscription.topic],
            "X-Shopify-Hmac-Sha256": sign(body, self._secret),
            "X-Shopify-Shop-Domain": self._catalog.spec.domain,
            "X-Shopify-API-Version": _API_VERSION,
            "X-Shopify-Product-Id": str(product_id),
            "X-Shopify-Webhook-Id": str(uuid.uuid4()),
            "X-Shopify-Event-Id": event_id,
            "X-Shopify-Triggered-At": f"{now:%Y-%m-%dT%H:%M:%S.%f}000Z",
        }


def sign(body: bytes, secret: str) -> str:
    """Return the signature of a delivery."""
    return base64.b64encode(hmac.digest(secret.encode(), body, "sha256")).decode()


def _fired_topic(change: Change) -> str:
    """Return the topic of a change; a change of a variant is one of its product."""
    match change.kind:
        case ChangeKind.PRODUCT_CREATED:
            return "PRODUCTS_CREATE"
        case ChangeKind.PRODUCT_DELETED:
            return "PRODUCTS_DELETE"
    return "PRODUCTS_UPDATE"


def subscription_json(subscription: Subscription) -> dict[str, Any]:
    """Return the fields of a WebhookSubscription."""
    http = {"__typename": "WebhookHttpEndpoint", "callbackUrl": subscription.uri}
    return {
        "__typename": "WebhookSubscription",
        "id": gid("WebhookSubscription", subscription.id),
        "legacyResourceId": str(subscription.id),
        "topic": subscription.topic,
        "uri": subscription.uri,
        "callbackUrl": subscription.uri,
        "endpoint": http,
        "format": "JSON",
        "filter": subscription.filter,
        "includeFields": list(subscription.include_fields),
        "metafieldNamespaces": [],
        "name": None,
        "apiVersion": {"handle": _API_VERSION, "displayName": _API_VERSION, "supported": True},
        "createdAt": f"{subscription.created:%Y-%m-%dT%H:%M:%SZ}",
        "updatedAt": f"{subscription.updated:%Y-%m-%dT%H:%M:%SZ}",
    }
