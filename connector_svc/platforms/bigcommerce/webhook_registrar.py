"""Lists, creates and enables a BigCommerce store's webhooks: /v3/hooks."""

from __future__ import annotations

from typing import Final

import msgspec

from connector_svc.domain.errors import SourceResponseInvalid
from connector_svc.domain.webhook import WebhookState, WebhookSubscription
from connector_svc.platforms.base import Secret
from connector_svc.platforms.bigcommerce.client import HOOKS_PATH, StoreClient
from connector_svc.platforms.bigcommerce.webhooks import SECRET_HEADER, SHOP_HEADER
from connector_svc.platforms.webhooks import MAX_LISTED, Id

SCOPES: Final = ("store/product/*", "store/sku/*")
"""Products and SKUs with all their events; stock is part of both."""
_PAGE_SIZE: Final = 250


class _Hook(msgspec.Struct, frozen=True):
    id: Id
    scope: str
    destination: str
    is_active: bool
    headers: dict[str, str] | None = None

    def to_subscription(self, *, changed: bool = False) -> WebhookSubscription:
        state = WebhookState.ACTIVE if self.is_active else WebhookState.DISABLED
        return WebhookSubscription(
            id=str(self.id), topic=self.scope, address=self.destination, state=state, changed=changed
        )

    def __repr__(self) -> str:
        return f"_Hook(id={self.id}, ***)"


class _HookList(msgspec.Struct, frozen=True):
    data: list[_Hook]


class _HookReply(msgspec.Struct, frozen=True):
    data: _Hook


_DECODE_LIST: Final = msgspec.json.Decoder(_HookList)
_DECODE: Final = msgspec.json.Decoder(_HookReply)


class HookStore:
    """The webhooks of one store that belong to our API account."""

    def __init__(self, client: StoreClient) -> None:
        self._client = client

    async def list_own(self) -> tuple[WebhookSubscription, ...]:
        """See `WebhookRegistrar.webhooks`."""
        own = [one for one in await self._read_all() if one.scope in SCOPES]
        found = {one.scope for one in own}
        missing = (WebhookSubscription.missing(scope) for scope in SCOPES if scope not in found)
        return (*(one.to_subscription() for one in own), *missing)

    async def ensure(self, address: str, secret: Secret) -> tuple[WebhookSubscription, ...]:
        """See `WebhookRegistrar.ensure_webhooks`. A webhook with another secret gets this one."""
        existing = {one.scope: one for one in await self._read_all() if one.destination == address}
        return tuple([await self._save(scope, existing.get(scope), address, secret) for scope in SCOPES])

    async def _save(self, scope: str, existing: _Hook | None, address: str, secret: Secret) -> WebhookSubscription:
        headers = {SECRET_HEADER: secret.reveal(), SHOP_HEADER: self._client.shop.domain}
        if existing is not None and existing.is_active and existing.headers == headers:
            return existing.to_subscription()
        fields = {"scope": scope, "destination": address, "is_active": True, "headers": headers}
        method, path = ("POST", HOOKS_PATH) if existing is None else ("PUT", f"{HOOKS_PATH}/{existing.id}")
        saved = (await self._client.save(method, path, msgspec.json.encode(fields), _DECODE.decode)).data
        if (saved.scope, saved.destination) != (scope, address):
            raise SourceResponseInvalid(self._client.shop, f"the webhook of {scope} was not saved as requested")
        return saved.to_subscription(changed=True)

    async def _read_all(self) -> list[_Hook]:
        found: list[_Hook] = []
        for page in range(1, MAX_LISTED // _PAGE_SIZE + 1):
            params = (("limit", str(_PAGE_SIZE)), ("page", str(page)))
            rows = (await self._client.get(HOOKS_PATH, params, _DECODE_LIST.decode)).value.data
            found += rows
            if len(rows) < _PAGE_SIZE:
                break
        return found
