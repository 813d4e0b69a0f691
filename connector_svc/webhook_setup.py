"""Lists and repairs the webhooks of shops, for those that have a webhook secret."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from connector_svc.domain.errors import CredentialsNotFound, SourceFailure
from connector_svc.domain.shop import Shop
from connector_svc.domain.webhook import WebhookState, WebhookSubscription
from connector_svc.platforms.base import CredentialsProvider, Secret, WebhookFormat
from connector_svc.platforms.webhooks import WebhookRegistrar, webhook_secrets


@dataclass(frozen=True, kw_only=True, slots=True)
class WebhookReport:
    """What is known of a shop's webhooks."""

    webhooks: tuple[WebhookSubscription, ...] = ()
    notes: tuple[str, ...] = ()
    """What does not work, for an operator."""


class WebhookSetup:
    """The webhooks of all platforms on which they can be created."""

    def __init__(
        self,
        registrars: Mapping[str, WebhookRegistrar],
        formats: Mapping[str, WebhookFormat],
        credentials: CredentialsProvider,
    ) -> None:
        """Create the setup.

        Args:
            registrars: By name of the platform.
            formats: By name of the platform.
            credentials: Provides the shops' credentials as they are stored, with the webhook secrets.
        """
        self._registrars = registrars
        self._formats = formats
        self._credentials = credentials

    @property
    def platforms(self) -> Collection[str]:
        """The names of the platforms on which webhooks can be created."""
        return self._registrars.keys()

    async def report(self, shop: Shop) -> WebhookReport:
        """Return the webhooks of a shop that has a webhook secret, and what does not work.

        Webhooks that cannot be listed are a note: the shop can be read without them.
        """
        registrar = self._registrars.get(shop.platform)
        if registrar is None or not await self._secrets(shop):
            return WebhookReport()
        try:
            webhooks = await registrar.webhooks(shop)
        except SourceFailure as failure:
            return WebhookReport(notes=(f"The webhooks cannot be listed: {failure.message}",))
        return WebhookReport(webhooks=webhooks, notes=tuple(filter(None, map(_problem, webhooks))))

    async def ensure(self, shop: Shop, address: str) -> tuple[WebhookSubscription, ...]:
        """Create and enable the shop's webhooks at `address`.

        Raises:
            CredentialsNotFound: The shop has no webhook secret.
            SourceFailure: See `WebhookRegistrar.ensure_webhooks`.
        """
        secrets = await self._secrets(shop)
        if not secrets:
            raise CredentialsNotFound(shop, "webhook_secrets are needed to verify webhooks")
        return await self._registrars[shop.platform].ensure_webhooks(shop, address, secrets[0])

    async def _secrets(self, shop: Shop) -> tuple[Secret, ...]:
        signing = self._formats[shop.platform].signing_credentials
        return webhook_secrets(await self._credentials.credentials(shop), signing)


def _problem(webhook: WebhookSubscription) -> str:
    match webhook.state:
        case WebhookState.ACTIVE:
            return ""
        case WebhookState.DISABLED:
            return (
                f"The webhook {webhook.id} for {webhook.topic} is disabled: the next incremental sync finds its "
                "changes. EnsureWebhooks enables it."
            )
        case WebhookState.MISSING:
            return (
                f"There is no webhook for {webhook.topic}: the next incremental sync finds its changes. "
                "EnsureWebhooks creates it."
            )
