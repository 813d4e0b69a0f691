"""Lists, creates and enables a WooCommerce store's webhooks: /wc/v3/webhooks."""

from __future__ import annotations

from typing import Final

import msgspec

from connector_svc.domain.errors import CredentialsNotFound, SourceResponseInvalid
from connector_svc.domain.webhook import WebhookState, WebhookSubscription
from connector_svc.platforms.base import Secret
from connector_svc.platforms.webhooks import MAX_LISTED, Id
from connector_svc.platforms.woocommerce.client import StoreClient
from connector_svc.platforms.woocommerce.wire import PER_PAGE

TOPICS: Final = (
    "product.created",
    "product.updated",
    "product.deleted",
    "product.restored",
    # Products that are deleted for good do not fire product.deleted.
    "action.woocommerce_delete_product",
    "action.woocommerce_delete_product_variation",
)
_PATH: Final = "/wp-json/wc/v3/webhooks"
_NAME: Final = "catalogsync"
"""Identifies our webhooks among those of other clients."""


class _Webhook(msgspec.Struct, frozen=True):
    id: Id
    name: str
    status: str
    topic: str
    delivery_url: str

    def to_subscription(self, *, changed: bool = False) -> WebhookSubscription:
        state = WebhookState.ACTIVE if self.status == "active" else WebhookState.DISABLED
        return WebhookSubscription(
            id=str(self.id), topic=self.topic, address=self.delivery_url, state=state, changed=changed
        )


_DECODE_LIST: Final = msgspec.json.Decoder(list[_Webhook])
_DECODE: Final = msgspec.json.Decoder(_Webhook)


class WebhookStore:
    """The webhooks of one store."""

    def __init__(self, client: StoreClient) -> None:
        self._client = client

    async def list_own(self) -> tuple[WebhookSubscription, ...]:
        """See `WebhookRegistrar.webhooks`. A webhook is ours if it has our name."""
        own = [one for one in await self._read_all() if one.name == _NAME and one.topic in TOPICS]
        found = {one.topic for one in own}
        missing = (WebhookSubscription.missing(topic) for topic in TOPICS if topic not in found)
        return (*(one.to_subscription() for one in own), *missing)

    async def ensure(self, address: str, secret: Secret) -> tuple[WebhookSubscription, ...]:
        """See `WebhookRegistrar.ensure_webhooks`.

        The secret of an existing webhook is set again, since no reply contains it.
        """
        if not (secret.reveal().isascii() and secret.reveal().isalnum()):
            # The back office changes other characters when a user saves the webhook there.
            detail = "a webhook secret for WooCommerce must consist of letters and digits"
            raise CredentialsNotFound(self._client.shop, detail)
        existing = {one.topic: one for one in await self._read_all() if one.delivery_url == address}
        return tuple([await self._save(topic, existing.get(topic), address, secret) for topic in TOPICS])

    async def _save(
        self, topic: str, existing: _Webhook | None, address: str, secret: Secret
    ) -> WebhookSubscription:
        fields = {"status": "active", "secret": secret.reveal()}
        if existing is None:
            fields |= {"name": _NAME, "topic": topic, "delivery_url": address}
        method, path = ("POST", _PATH) if existing is None else ("PUT", f"{_PATH}/{existing.id}")
        saved = await self._client.save(method, path, msgspec.json.encode(fields), _DECODE.decode)
        if (saved.topic, saved.status, saved.delivery_url) != (topic, "active", address):
            raise SourceResponseInvalid(self._client.shop, f"the webhook of {topic} was not saved as requested")
        return saved.to_subscription(changed=existing is None or existing.status != "active")

    async def _read_all(self) -> list[_Webhook]:
        """Return all webhooks, the oldest last, so that the oldest of a topic wins in a mapping."""
        found: list[_Webhook] = []
        for page in range(1, MAX_LISTED // PER_PAGE + 1):
            params = (("per_page", str(PER_PAGE)), ("page", str(page)))
            rows = (await self._client.get(_PATH, params, _DECODE_LIST.decode)).value
            found += rows
            if len(rows) < PER_PAGE:
                break
        return found
