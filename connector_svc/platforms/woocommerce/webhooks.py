"""WooCommerce's webhooks: HMAC signatures of a webhook's secret, unsigned pings, topics and ids.

Measured with 8.2.2 and 10.5.0; tests/data/woocommerce_webhooks/README.md says how.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec
from yarl import URL

from connector_svc.domain.shop import Shop
from connector_svc.domain.webhook import Delivery, DeliveryHeaders, InvalidBody, WebhookContent, WebhookKind
from connector_svc.platforms.base import Secret
from connector_svc.platforms.webhooks import Id, decode_body, is_hmac_of

_PREFIX: Final = "X-WC-Webhook-"
_SOURCE: Final = f"{_PREFIX}Source"
_TOPIC: Final = f"{_PREFIX}Topic"
_SIGNATURE: Final = f"{_PREFIX}Signature"
_DELIVERY_ID: Final = f"{_PREFIX}Delivery-ID"
_PING_TYPE: Final = "application/x-www-form-urlencoded"
_PING_BODY: Final = re.compile(rb"webhook_id=\d{1,20}")
_HOST_NAME: Final = re.compile(r"(?:[a-z0-9-]+\.)+[a-z][a-z0-9-]*", re.IGNORECASE)
_ENTITY: Final = re.compile("&(amp|lt|gt|quot|#039);")
_ENTITIES: Final = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "#039": "'"}

_PRODUCT_TOPICS: Final = frozenset({"product.created", "product.updated", "product.restored"})
_DELETED_TOPIC: Final = "product.deleted"
_ACTIONS_OF_PRODUCTS: Final = frozenset(
    f"action.woocommerce_{action}_product" for action in ("new", "update", "delete", "before_delete", "trash")
)
_ACTIONS_OF_VARIATIONS: Final = frozenset(f"{action}_variation" for action in _ACTIONS_OF_PRODUCTS)
_ACTIONS_OF_EITHER: Final = frozenset(
    {"action.woocommerce_updated_product_stock", "action.woocommerce_product_set_stock_status"}
)
_CANNOT_VIEW: Final = "woocommerce_rest_cannot_view"
_CANNOT_VIEW_WARNING: Final = (
    "the user to whom the webhook belongs may not view products, so that no delivery names one: create the "
    "webhook again with the key of a user who may"
)


class _ProductBody(msgspec.Struct, frozen=True):
    """A product or variation, or the error that the store got when it built the body."""

    id: Id | None = None
    type: str = ""
    parent_id: int = 0
    code: str = ""


class _DeletedBody(msgspec.Struct, frozen=True):
    id: Id


class _ActionBody(msgspec.Struct, frozen=True):
    arg: Id | list[object]
    """An empty list: the store could not write the argument, which was an object."""


_DECODE_PRODUCT: Final = msgspec.json.Decoder(_ProductBody)
_DECODE_DELETED: Final = msgspec.json.Decoder(_DeletedBody)
_DECODE_ACTION: Final = msgspec.json.Decoder(_ActionBody)


class WooCommerceWebhookFormat:
    """Deliveries of a store's webhooks, each of which has a secret of its own."""

    signing_credentials: tuple[str, ...] = ()

    def is_unsigned_ping(self, delivery: Delivery) -> bool:
        """Return whether the delivery is a ping: a form with the webhook's number, and none of the own headers."""
        headers = delivery.headers
        return (
            not headers.has_any(_PREFIX)
            and headers.get("Content-Type").partition(";")[0].strip().lower() == _PING_TYPE
            and _PING_BODY.fullmatch(delivery.body) is not None
        )

    def shop_domain(self, headers: DeliveryHeaders) -> str:
        """Return the host of the store's home URL; "" if it is an IP address, which is no shop's domain."""
        try:
            host = URL(headers.get(_SOURCE)).host or ""
        except ValueError:
            return ""
        return host if _HOST_NAME.fullmatch(host) else ""

    def is_signed(self, delivery: Delivery, secret: Secret) -> bool:
        """See `WebhookFormat.is_signed`. The store decodes entities of the secret before it signs with it."""
        key = _ENTITY.sub(lambda match: _ENTITIES[match[1]], secret.reveal())
        return is_hmac_of(delivery.headers.get(_SIGNATURE), delivery.body, key)

    def parse(self, delivery: Delivery, shop: Shop) -> WebhookContent:
        """Return the ids of a topic about products; see `WebhookFormat.parse`.

        A variation names its parent. `product.deleted` and the actions about stock have only an id, which may be
        that of a product or of a variation.
        """
        topic, body = delivery.headers.get(_TOPIC), delivery.body
        product_ids: tuple[str, ...] = ()
        variant_ids: tuple[str, ...] = ()
        warning = ""
        if topic in _PRODUCT_TOPICS:
            product_ids, warning = _product(decode_body(body, _DECODE_PRODUCT))
        elif topic == _DELETED_TOPIC:
            product_ids = variant_ids = (str(decode_body(body, _DECODE_DELETED).id),)
        elif topic in _ACTIONS_OF_PRODUCTS | _ACTIONS_OF_VARIATIONS | _ACTIONS_OF_EITHER:
            ids = _argument(decode_body(body, _DECODE_ACTION))
            product_ids = () if topic in _ACTIONS_OF_VARIATIONS else ids
            variant_ids = () if topic in _ACTIONS_OF_PRODUCTS else ids
        return WebhookContent(
            kind=WebhookKind.PRODUCTS if product_ids or variant_ids else WebhookKind.IGNORED,
            topic=topic,
            product_ids=product_ids,
            variant_ids=variant_ids,
            delivery_id=delivery.headers.get(_DELIVERY_ID),
            warning=warning,
        )


def _product(body: _ProductBody) -> tuple[tuple[str, ...], str]:
    """Return the product to read, and a warning. An error names none: it was deleted, or may not be viewed."""
    if body.id is None:
        if not body.code:
            raise InvalidBody("it is neither a product nor an error of the store")
        return (), _CANNOT_VIEW_WARNING if body.code == _CANNOT_VIEW else ""
    is_variation = body.type == "variation" and body.parent_id > 0
    return (str(body.parent_id if is_variation else body.id),), ""


def _argument(body: _ActionBody) -> tuple[str, ...]:
    return (str(body.arg),) if isinstance(body.arg, int) else ()
