"""Shopify's webhooks: HMAC signatures of the app's client secret, topics and ids.

Source: https://shopify.dev/docs/apps/build/webhooks/delivery-structure
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import msgspec

from connector_svc.domain.shop import Shop
from connector_svc.domain.webhook import Delivery, DeliveryHeaders, InvalidBody, WebhookContent, WebhookKind
from connector_svc.platforms.base import Secret
from connector_svc.platforms.webhooks import Id, decode_body, is_hmac_of

_SIGNATURE: Final = "X-Shopify-Hmac-Sha256"
_SHOP_DOMAIN: Final = "X-Shopify-Shop-Domain"
_TOPIC: Final = "X-Shopify-Topic"
_WEBHOOK_ID: Final = "X-Shopify-Webhook-Id"
_TRIGGERED_AT: Final = "X-Shopify-Triggered-At"
_PRODUCT_TOPICS: Final = frozenset({"products/create", "products/update", "products/delete"})
_VARIANT_TOPICS: Final = frozenset({"variants/in_stock", "variants/out_of_stock"})
_PRODUCT_GID: Final = "gid://shopify/Product/"


class _ProductBody(msgspec.Struct, frozen=True):
    """A product; with `includeFields` a subscription chooses the fields that are sent."""

    id: Id | None = None
    admin_graphql_api_id: str = ""


class _VariantBody(msgspec.Struct, frozen=True):
    id: Id
    product_id: Id | None = None


_DECODE_PRODUCT: Final = msgspec.json.Decoder(_ProductBody)
_DECODE_VARIANT: Final = msgspec.json.Decoder(_VariantBody)


class ShopifyWebhookFormat:
    """Deliveries of an app's subscriptions. One secret signs those of all shops that have the app."""

    signing_credentials: tuple[str, ...] = ("client_secret",)

    def is_unsigned_ping(self, delivery: Delivery) -> bool:
        """Return False: Shopify signs every delivery."""
        return False

    def shop_domain(self, headers: DeliveryHeaders) -> str:
        """See `WebhookFormat.shop_domain`."""
        return headers.get(_SHOP_DOMAIN)

    def is_signed(self, delivery: Delivery, secret: Secret) -> bool:
        """See `WebhookFormat.is_signed`."""
        return is_hmac_of(delivery.headers.get(_SIGNATURE), delivery.body, secret.reveal())

    def parse(self, delivery: Delivery, shop: Shop) -> WebhookContent:
        """Return the product of a topic about products or the stock of variants; see `WebhookFormat.parse`.

        The headers are not signed. A false topic or time can at most cause a needless read, or none.
        """
        headers = delivery.headers
        topic = headers.get(_TOPIC)
        product_ids, variant_ids = _ids(topic, delivery.body)
        return WebhookContent(
            kind=WebhookKind.PRODUCTS if product_ids or variant_ids else WebhookKind.IGNORED,
            topic=topic,
            product_ids=product_ids,
            variant_ids=variant_ids,
            delivery_id=headers.get(_WEBHOOK_ID),
            triggered_at=_time(headers.get(_TRIGGERED_AT)),
        )


def _ids(topic: str, body: bytes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the products, and the variants without a product."""
    if topic in _PRODUCT_TOPICS:
        return (_product_id(decode_body(body, _DECODE_PRODUCT)),), ()
    if topic in _VARIANT_TOPICS:
        variant = decode_body(body, _DECODE_VARIANT)
        return ((), (str(variant.id),)) if variant.product_id is None else ((str(variant.product_id),), ())
    return (), ()


def _product_id(product: _ProductBody) -> str:
    if product.id is not None:
        return str(product.id)
    number = product.admin_graphql_api_id.removeprefix(_PRODUCT_GID)
    if number == product.admin_graphql_api_id or not (number.isascii() and number.isdecimal()) or len(number) > 19:
        raise InvalidBody("it names no product: the subscription must include the field id")
    return number


def _time(text: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time.astimezone(UTC) if time.tzinfo else None
