"""The webhooks of a BigCommerce store: /v3/hooks, what fires, and the deliveries.

Source: https://developer.bigcommerce.com/docs/integrations/webhooks
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from msgspec import json as fast_json

from devstore.bigcommerce.errors import ApiError, invalid_value, not_found
from devstore.bigcommerce.product_json import Json
from devstore.catalog.catalog import Catalog
from devstore.catalog.change import Change, ChangeKind
from devstore.webhooks.sender import DeliveryPolicy, Message, QueuedDelivery, WebhookSender

DELIVERY_POLICY: Final = DeliveryPolicy(
    concurrency=4,
    timeout_seconds=10,
    retry_delays_seconds=(
        60, 180, 180, 300, 600, 900, 1_800, 3_600, 7_200, 21_600, 50_400, 86_400,
    ),
)  # fmt: skip
_STORE_ID: Final = "1025646"
_CLIENT_ID: Final = "devstoreclientid0000000000000000"
_PRODUCT_EVENTS: Final = {
    ChangeKind.PRODUCT_CREATED: "store/product/created",
    ChangeKind.PRODUCT_UPDATED: "store/product/updated",
    ChangeKind.PRODUCT_DELETED: "store/product/deleted",
}
_SKU_EVENTS: Final = {
    ChangeKind.VARIANT_CREATED: "store/sku/created",
    ChangeKind.VARIANT_UPDATED: "store/sku/updated",
    ChangeKind.VARIANT_DELETED: "store/sku/deleted",
}


@dataclass(slots=True, kw_only=True)
class Hook:
    """A webhook."""

    id: int
    scope: str
    destination: str
    created_at: int
    updated_at: int
    is_active: bool = True
    headers: dict[str, str] = field(default_factory=dict)
    """Sent with each delivery."""

    def fires_for(self, scope: str) -> bool:
        """Return whether the hook's scope, which may end in an asterisk, includes another one."""
        if self.scope.endswith("/*"):
            return scope.startswith(self.scope.removesuffix("*"))
        return scope == self.scope


class BigCommerceHooks:
    """All webhooks of a store."""

    def __init__(
        self,
        catalog: Catalog,
        sender: WebhookSender,
        store_hash: str,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._catalog = catalog
        self._sender = sender
        self._hash = store_hash
        self._clock = clock
        self._hooks: dict[int, Hook] = {}
        self._ids = itertools.count(18_048_287)

    # -- /v3/hooks

    def list(self, filters: Mapping[str, str]) -> list[Json]:
        """Return the webhooks with these values of scope, destination and is_active."""
        wanted = {name: filters[name] for name in ("scope", "destination", "is_active") if name in filters}
        found = map(self.to_json, self._hooks.values())
        return [one for one in found if all(str(one[name]).lower() == wanted[name].lower() for name in wanted)]

    def get(self, hook_id: int) -> Hook:
        """Return a webhook. Raises ApiError."""
        found = self._hooks.get(hook_id)
        if found is None:
            raise not_found()
        return found

    def create(self, fields: Mapping[str, object]) -> Hook:
        """Create a webhook. Raises ApiError."""
        now = int(self._clock().timestamp())
        hook = Hook(id=next(self._ids), scope="", destination="", created_at=now, updated_at=now)
        if not {"scope", "destination"} <= fields.keys():
            raise ApiError(422, "scope and destination are required")
        _set_fields(hook, fields)
        self._hooks[hook.id] = hook
        return hook

    def update(self, hook_id: int, fields: Mapping[str, object]) -> Hook:
        """Change the given fields. Raises ApiError."""
        hook = self.get(hook_id)
        _set_fields(hook, fields)
        hook.updated_at = int(self._clock().timestamp())
        return hook

    def delete(self, hook_id: int) -> Hook:
        """Delete a webhook. Raises ApiError."""
        hook = self.get(hook_id)
        del self._hooks[hook_id]
        return hook

    def to_json(self, hook: Hook) -> Json:
        """Return the resource of a webhook."""
        return {
            "id": hook.id,
            "client_id": _CLIENT_ID,
            "store_hash": self._hash,
            "scope": hook.scope,
            "destination": hook.destination,
            "headers": dict(hook.headers) or None,
            "is_active": hook.is_active,
            "created_at": hook.created_at,
            "updated_at": hook.updated_at,
        }

    # -- deliveries

    def notify(self, change: Change) -> None:
        """Queue a delivery for each active webhook of each scope that a change fires."""
        created_at = int(self._clock().timestamp())
        for scope, data in _fired(change):
            body = self._body(scope, data, created_at)
            for hook in self._hooks.values():
                if hook.is_active and hook.fires_for(scope):
                    self._sender.enqueue(self._delivery(hook, scope, body))

    def _delivery(self, hook: Hook, scope: str, body: bytes) -> QueuedDelivery:
        def prepare() -> Message | None:
            if hook.id not in self._hooks:
                return None
            headers = {
                "Accept": "*/*",
                "User-Agent": "BigCommerce-Webhooks",
                "Content-Type": "application/json",
                **hook.headers,
            }
            return Message(headers=headers, body=body)

        def deactivate_after_failure(succeeded: bool) -> None:
            if not succeeded:
                hook.is_active = False

        return QueuedDelivery(
            topic=scope, url=hook.destination, prepare=prepare, on_result=deactivate_after_failure
        )

    def _body(self, scope: str, data: Json, created_at: int) -> bytes:
        # The hash of the data and the scope: equal for a repetition of the same event.
        digest = hashlib.sha1(fast_json.encode([scope, data, created_at])).hexdigest()
        return fast_json.encode(
            {
                "scope": scope,
                "store_id": _STORE_ID,
                "data": data,
                "hash": digest,
                "created_at": created_at,
                "producer": f"stores/{self._hash}",
            }
        )


def _set_fields(hook: Hook, fields: Mapping[str, object]) -> None:
    scope, destination = fields.get("scope", hook.scope), fields.get("destination", hook.destination)
    headers, is_active = fields.get("headers", hook.headers) or {}, fields.get("is_active", hook.is_active)
    if not isinstance(scope, str) or not scope.startswith("store/"):
        raise invalid_value("scope")
    # The platform accepts https at port 443 only; a devstore on a laptop sends anywhere.
    if not isinstance(destination, str) or not destination.startswith(("https://", "http://")):
        raise invalid_value("destination")
    if not isinstance(headers, dict) or not isinstance(is_active, bool):
        raise invalid_value("headers or is_active")
    hook.scope, hook.destination, hook.is_active = scope, destination, is_active
    hook.headers = {str(name): str(value) for name, value in headers.items()}


def _fired(change: Change) -> Iterable[tuple[str, Json]]:
    """Yield the scopes that a change fires, each with the data of its body."""
    product_id = change.product_id
    if change.kind in _PRODUCT_EVENTS:
        yield _PRODUCT_EVENTS[change.kind], {"type": "product", "id": product_id}
        if change.stock_changed:
            inventory = {"product_id": product_id, "method": "absolute"}
            data = {"type": "product", "id": product_id, "inventory": inventory}
            yield "store/product/inventory/updated", data
    elif change.kind in _SKU_EVENTS:
        (variant_id,) = change.variant_ids
        sku = {"product_id": product_id, "variant_id": variant_id}
        yield _SKU_EVENTS[change.kind], {"type": "sku", "id": variant_id, "sku": sku}
        if change.stock_changed:
            yield (
                "store/sku/inventory/updated",
                {
                    "type": "sku",
                    "id": variant_id,
                    "inventory": {**sku, "method": "absolute"},
                },
            )
