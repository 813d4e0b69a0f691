"""A verifier of webhooks in memory: a delivery is signed if its body begins with its shop's secret."""

from __future__ import annotations

from catalog_svc.domain.errors import ConnectorUnavailable, SourceFailed
from catalog_svc.domain.refresh import VerifiedWebhook, WebhookDelivery
from catalog_svc.domain.shop import ShopKey

SIGNATURE_INVALID = "WEBHOOK_SIGNATURE_INVALID"


class MemoryVerifier:
    """A `WebhookVerifier`. A body is "<secret> products <ids> variants <ids>", or empty for a ping."""

    def __init__(self, secrets: dict[ShopKey, str]) -> None:
        self.secrets = secrets
        self.available = True
        self.domains: list[str] = []
        """The domain of each delivery, as the caller knew it."""

    async def verify(self, delivery: WebhookDelivery) -> VerifiedWebhook:
        self.domains.append(delivery.domain)
        if not self.available:
            raise ConnectorUnavailable
        if not delivery.body:
            return VerifiedWebhook(shop=None, is_ping=True)
        shop = ShopKey(delivery.platform, dict(delivery.headers).get("X-Shop", ""))
        secret, *words = delivery.body.decode().split()
        if self.secrets.get(shop) != secret or delivery.domain not in ("", shop.domain):
            raise SourceFailed(reason=SIGNATURE_INVALID, message="not signed by the shop", transient=False)
        ids: dict[str, list[str]] = {"products": [], "variants": []}
        kind = "products"
        for word in words:
            if word in ids:
                kind = word
            else:
                ids[kind].append(word)
        return VerifiedWebhook(shop=shop, product_ids=tuple(ids["products"]), variant_ids=tuple(ids["variants"]))


def delivery(body: str, shop: ShopKey) -> WebhookDelivery:
    """Return a delivery that names this shop."""
    return WebhookDelivery(platform=shop.platform, body=body.encode(), headers=(("X-Shop", shop.domain),))
