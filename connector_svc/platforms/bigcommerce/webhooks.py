"""BigCommerce's webhooks: a secret header of ours instead of a signature, scopes and ids.

Sources disagree on whether and how BigCommerce signs. A webhook may have headers of its own, which are sent with
each delivery: a secret and the store's domain, set when the webhook is created. The secret does not cover the
body, which only TLS protects.

Source: https://developer.bigcommerce.com/docs/integrations/webhooks/events
"""

from __future__ import annotations

import hmac
from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec

from connector_svc.domain.shop import Shop
from connector_svc.domain.webhook import Delivery, DeliveryHeaders, InvalidBody, WebhookContent, WebhookKind
from connector_svc.platforms.base import Secret
from connector_svc.platforms.webhooks import Id, decode_body

SECRET_HEADER: Final = "X-Catalogsync-Secret"
SHOP_HEADER: Final = "X-Catalogsync-Shop"
_PRODUCT_SCOPES: Final = ("store/product/", "store/sku/", "store/inventory/")
_METAFIELD_SCOPES: Final = ("store/product/metafield/", "store/product/variant/metafield/")
_NO_ID_WARNING: Final = "a delivery about products names neither a product nor a variant"

UnixSeconds = Annotated[int, msgspec.Meta(ge=0, le=2**32)]


class _Part(msgspec.Struct, frozen=True):
    """A SKU, or the stock of one."""

    product_id: Id | None = None
    variant_id: Id | None = None


class _Data(msgspec.Struct, frozen=True):
    type: str = ""
    id: Id | str | None = None
    """Of what `type` names; a cart's id is a text."""
    product_id: Id | None = None
    variant_id: Id | None = None
    sku: _Part = _Part()
    inventory: _Part = _Part()


class _Body(msgspec.Struct, frozen=True):
    scope: str
    producer: str
    data: _Data
    hash: str = ""
    created_at: UnixSeconds | None = None


_DECODE: Final = msgspec.json.Decoder(_Body)


class BigCommerceWebhookFormat:
    """Deliveries of webhooks that were created with the headers SECRET_HEADER and SHOP_HEADER."""

    signing_credentials: tuple[str, ...] = ()

    def is_unsigned_ping(self, delivery: Delivery) -> bool:
        """Return False: BigCommerce does not try addresses."""
        return False

    def shop_domain(self, headers: DeliveryHeaders) -> str:
        """See `WebhookFormat.shop_domain`."""
        return headers.get(SHOP_HEADER)

    def is_signed(self, delivery: Delivery, secret: Secret) -> bool:
        """See `WebhookFormat.is_signed`."""
        return hmac.compare_digest(delivery.headers.get(SECRET_HEADER).encode(), secret.reveal().encode())

    def parse(self, delivery: Delivery, shop: Shop) -> WebhookContent:
        """Return the ids of a scope about products, SKUs or stock; see `WebhookFormat.parse`."""
        body = decode_body(delivery.body, _DECODE)
        if body.producer != f"stores/{shop.domain.partition('.')[0].removeprefix('store-')}":
            raise InvalidBody("its producer is another store")
        product_ids, variant_ids, warning = _ids(body)
        return WebhookContent(
            kind=WebhookKind.PRODUCTS if product_ids or variant_ids else WebhookKind.IGNORED,
            topic=body.scope,
            product_ids=product_ids,
            variant_ids=variant_ids,
            delivery_id=body.hash,
            triggered_at=None if body.created_at is None else datetime.fromtimestamp(body.created_at, UTC),
            warning=warning,
        )


def _ids(body: _Body) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    """Return the products, the variants without a product, and a warning."""
    if not body.scope.startswith(_PRODUCT_SCOPES) or body.scope.startswith(_METAFIELD_SCOPES):
        return (), (), ""
    data = body.data
    own_id = data.id if data.type == "product" and isinstance(data.id, int) else None
    product_id = own_id or data.product_id or data.sku.product_id or data.inventory.product_id
    if product_id is not None:
        return (str(product_id),), (), ""
    variant_id = data.variant_id or data.sku.variant_id or data.inventory.variant_id
    return ((), (str(variant_id),), "") if variant_id is not None else ((), (), _NO_ID_WARNING)
