"""Verification of webhook deliveries: which shop signed one, and which products it concerns."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from typing import Final, Protocol

from catalogsync_common.failure import InvalidRequest

from connector_svc.domain.errors import CredentialsNotFound
from connector_svc.domain.shop import Shop, canonical_domain
from connector_svc.domain.webhook import (
    Delivery,
    DeliveryRejected,
    InvalidBody,
    VerifiedWebhook,
    WebhookBodyInvalid,
    WebhookContent,
    WebhookKind,
    WebhookSignatureInvalid,
)
from connector_svc.platforms.base import CredentialsProvider, Platform, Secret, WebhookFormat
from connector_svc.platforms.webhooks import webhook_secrets

_log = logging.getLogger(__name__)
_REJECTED: Final = "rejected"
_BODY_INVALID: Final = "body_invalid"


class WebhookMetrics(Protocol):
    """Counts deliveries."""

    def record_webhook(self, platform: str, outcome: str) -> None:
        """Count a delivery by its outcome: the kind in lower case, "rejected" or "body_invalid"."""
        ...


class WebhookVerifier:
    """Verifies deliveries of all platforms that send webhooks."""

    def __init__(
        self,
        formats: Mapping[str, WebhookFormat],
        credentials: CredentialsProvider,
        metrics: WebhookMetrics,
    ) -> None:
        """Create the verifier.

        Args:
            formats: By name of the platform.
            credentials: Provides the shops' credentials as they are stored, with the webhook secrets.
            metrics: Counts the deliveries.
        """
        self._formats = formats
        self._credentials = credentials
        self._metrics = metrics
        self._decoy = Secret(secrets.token_hex())
        """Checked for shops without a secret, so that the answer takes as long as for a wrong signature."""

    @property
    def platforms(self) -> tuple[str, ...]:
        """The names of the platforms that send webhooks."""
        return tuple(self._formats)

    async def verify(self, platform: Platform, delivery: Delivery) -> VerifiedWebhook:
        """Verify a delivery, then read which products it concerns.

        Args:
            platform: One of `platforms`.
            delivery: As it was received.

        Raises:
            WebhookSignatureInvalid: No secret of the named shop signed it. All causes look the same.
            WebhookBodyInvalid: It is signed, but not a delivery of the platform.
            TokenServiceUnavailable: The secrets cannot be read now.
        """
        try:
            verified = await self._verify(platform, delivery)
        except DeliveryRejected as cause:
            _log.warning("webhook rejected: %s", cause, extra={"platform": platform.name})
            self._metrics.record_webhook(platform.name, _REJECTED)
            raise WebhookSignatureInvalid(platform.name) from None
        except WebhookBodyInvalid:
            self._metrics.record_webhook(platform.name, _BODY_INVALID)
            raise
        content = verified.content
        if content.warning:
            _log.warning("webhook: %s", content.warning, extra={"shop": str(verified.shop)})
        self._metrics.record_webhook(platform.name, content.kind.value.lower())
        return verified

    async def _verify(self, platform: Platform, delivery: Delivery) -> VerifiedWebhook:
        webhook_format = self._formats[platform.name]
        if webhook_format.is_unsigned_ping(delivery):
            # It names no shop and proves nothing: no secrets are looked up for it.
            shop = Shop(platform.name, delivery.domain) if delivery.domain else None
            return VerifiedWebhook(shop=shop, content=WebhookContent(kind=WebhookKind.PING))
        shop = _named_shop(platform, webhook_format, delivery)
        await self._check_signature(webhook_format, delivery, shop)
        try:
            return VerifiedWebhook(shop=shop, content=webhook_format.parse(delivery, shop))
        except InvalidBody as error:
            raise WebhookBodyInvalid(shop, str(error)) from None

    async def _check_signature(self, webhook_format: WebhookFormat, delivery: Delivery, shop: Shop) -> None:
        """Raise DeliveryRejected unless a secret of the shop signed the delivery."""
        try:
            credentials = await self._credentials.credentials(shop)
            known = webhook_secrets(credentials, webhook_format.signing_credentials)
            problem = "" if known else "no webhook secret"
        except CredentialsNotFound:
            known, problem = (), "no credentials"
        # Every secret is checked, so that the time does not tell which one fits.
        fits = [webhook_format.is_signed(delivery, secret) for secret in known or (self._decoy,)]
        if problem or not any(fits):
            raise DeliveryRejected(f"{shop}: {problem or 'the signature is missing or wrong'}")


def _named_shop(platform: Platform, webhook_format: WebhookFormat, delivery: Delivery) -> Shop:
    """Return the shop that the headers or the address name. Raises DeliveryRejected."""
    named = webhook_format.shop_domain(delivery.headers)
    if named:
        try:
            named = canonical_domain(named, platform.domain_pattern, platform.domain_example)
        except InvalidRequest:
            raise DeliveryRejected("the headers name a domain that the platform does not have") from None
    if not named and not delivery.domain:
        raise DeliveryRejected("neither the headers nor the address name a shop")
    if named and delivery.domain and named.removeprefix("www.") != delivery.domain.removeprefix("www."):
        raise DeliveryRejected(f"sent to the address of {delivery.domain}, and the headers name {named}")
    return Shop(platform.name, delivery.domain or named)
