"""Webhook deliveries as platforms sign them, written without the code that verifies them."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence

from connector_svc.domain.errors import CredentialsNotFound
from connector_svc.domain.shop import Shop
from connector_svc.platforms.base import Credentials, Secret

Headers = tuple[tuple[str, str], ...]

SHOPIFY = Shop("shopify", "demo.myshopify.com")
WOOCOMMERCE = Shop("woocommerce", "store.example")
BIGCOMMERCE = Shop("bigcommerce", "store-abc123.mybigcommerce.com")


def signature(body: bytes, secret: str) -> str:
    """Return the signature of Shopify and WooCommerce."""
    return base64.b64encode(hmac.new(secret.encode("utf-8"), body, hashlib.sha256).digest()).decode("ascii")


def shopify_headers(body: bytes, secret: str, *, topic: str = "products/update", shop: Shop = SHOPIFY) -> Headers:
    """Return the headers of a delivery of Shopify."""
    return (
        ("Content-Type", "application/json"),
        ("X-Shopify-Topic", topic),
        ("X-Shopify-Hmac-Sha256", signature(body, secret)),
        ("X-Shopify-Shop-Domain", shop.domain),
        ("X-Shopify-API-Version", "2026-10"),
        ("X-Shopify-Webhook-Id", "b54557e4-bdd9-4b37-8a5f-bf7d70bcd043"),
        ("X-Shopify-Event-Id", "98880550-7158-44d4-b7cd-2c97c8a091b5"),
        ("X-Shopify-Triggered-At", "2026-11-30T10:00:00.877041743Z"),
    )


def woocommerce_headers(
    body: bytes, secret: str, *, topic: str = "product.updated", source: str = "https://store.example/"
) -> Headers:
    """Return the headers of a delivery of WooCommerce."""
    resource, _, event = topic.partition(".")
    return (
        ("Content-Type", "application/json"),
        ("X-WC-Webhook-Source", source),
        ("X-WC-Webhook-Topic", topic),
        ("X-WC-Webhook-Resource", resource),
        ("X-WC-Webhook-Event", event),
        ("X-WC-Webhook-Signature", signature(body, secret)),
        ("X-WC-Webhook-ID", "7"),
        ("X-WC-Webhook-Delivery-ID", "a7ec8ef40ff005477a31f7edf13913c9"),
    )


def bigcommerce_headers(secret: str, *, shop: Shop = BIGCOMMERCE) -> Headers:
    """Return the headers of a delivery of BigCommerce."""
    return (
        ("Content-Type", "application/json"),
        ("X-Catalogsync-Secret", secret),
        ("X-Catalogsync-Shop", shop.domain),
    )


class ListedSecrets:
    """Knows the webhook secrets of some shops, and counts how often it was asked."""

    def __init__(self, secrets: Mapping[Shop, Sequence[str]], *, more: Mapping[str, str] | None = None) -> None:
        """Create the provider; `more`: further credentials of every shop."""
        self.secrets = dict(secrets)
        self.asked = 0
        self._more = {name: Secret(value) for name, value in (more or {}).items()}

    async def credentials(self, shop: Shop, *, refused: Credentials | None = None) -> Credentials:
        self.asked += 1
        if shop not in self.secrets:
            raise CredentialsNotFound(shop)
        own = {f"webhook_secrets[{index}]": Secret(one) for index, one in enumerate(self.secrets[shop])}
        return {**self._more, **own}
