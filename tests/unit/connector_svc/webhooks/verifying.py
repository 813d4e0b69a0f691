"""A verifier of all platforms, whose parsers count their calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import pytest

from connector_svc.domain.shop import Shop
from connector_svc.domain.webhook import (
    Delivery,
    DeliveryHeaders,
    VerifiedWebhook,
    WebhookContent,
    WebhookSignatureInvalid,
)
from connector_svc.platforms.base import Platform, Secret, WebhookFormat
from connector_svc.platforms.bigcommerce import BigCommercePlatform
from connector_svc.platforms.registry import PLATFORMS
from connector_svc.platforms.shopify import ShopifyPlatform
from connector_svc.platforms.woocommerce import WooCommercePlatform
from connector_svc.webhooks import WebhookVerifier
from tests.fakes.listed_platform import ListedPlatform
from tests.fakes.webhook_deliveries import BIGCOMMERCE, SHOPIFY, WOOCOMMERCE, Headers, ListedSecrets

SECRETS: Final = {
    SHOPIFY: ("shopify-app-secret",),
    WOOCOMMERCE: ("woocommerce-secret",),
    BIGCOMMERCE: ("bigcommerce-secret",),
}
_CLASSES: Final = (ShopifyPlatform, WooCommercePlatform, BigCommercePlatform)


@dataclass(slots=True)
class CountingFormat:
    """A platform's own format, and the number of bodies that it parsed."""

    inner: WebhookFormat
    parsed: int = 0

    @property
    def signing_credentials(self) -> tuple[str, ...]:
        return self.inner.signing_credentials

    def is_unsigned_ping(self, delivery: Delivery) -> bool:
        return self.inner.is_unsigned_ping(delivery)

    def shop_domain(self, headers: DeliveryHeaders) -> str:
        return self.inner.shop_domain(headers)

    def is_signed(self, delivery: Delivery, secret: Secret) -> bool:
        return self.inner.is_signed(delivery, secret)

    def parse(self, delivery: Delivery, shop: Shop) -> WebhookContent:
        self.parsed += 1
        return self.inner.parse(delivery, shop)


@dataclass(slots=True)
class OutcomeCounter:
    """Counts outcomes by platform."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)

    def record_webhook(self, platform: str, outcome: str) -> None:
        self.outcomes[platform, outcome] += 1


class Verifying:
    """A verifier with the secrets of one shop of each platform."""

    def __init__(self, provider: ListedSecrets | None = None) -> None:
        self.provider = provider or ListedSecrets(SECRETS)
        self.metrics = OutcomeCounter()
        self._formats = {one.name: CountingFormat(one.webhooks) for one in PLATFORMS if one.webhooks}
        self._verifier = WebhookVerifier(self._formats, self.provider, self.metrics)
        self._platforms: Mapping[str, Platform] = {
            one.name: ListedPlatform(
                name=one.name, domain_pattern=one.domain_pattern, domain_example=one.domain_example
            )
            for one in _CLASSES
        }

    @property
    def parsed(self) -> int:
        """The number of bodies that were parsed."""
        return sum(one.parsed for one in self._formats.values())

    async def verify(
        self, headers: Headers, body: bytes, *, platform: str = "shopify", domain: str = ""
    ) -> VerifiedWebhook:
        """Verify a delivery."""
        delivery = Delivery(headers=DeliveryHeaders(headers), body=body, domain=domain)
        return await self._verifier.verify(self._platforms[platform], delivery)

    async def reject(
        self, headers: Headers, body: bytes, *, platform: str = "shopify", domain: str = ""
    ) -> WebhookSignatureInvalid:
        """Verify a delivery that must be rejected, and return the failure."""
        with pytest.raises(WebhookSignatureInvalid) as caught:
            await self.verify(headers, body, platform=platform, domain=domain)
        return caught.value
