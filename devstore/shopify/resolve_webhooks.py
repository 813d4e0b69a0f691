"""Resolvers of webhook subscriptions: their root fields and mutations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from devstore.shopify.context import Info, RequestContext
from devstore.shopify.pagination import Connection, page
from devstore.shopify.scalars import gid, parse_gid
from devstore.shopify.webhooks import ShopifyWebhooks, Subscription, subscription_json

_PRODUCT_TOPICS = ("PRODUCTS_", "VARIANTS_")
_MISSING = "Webhook subscription does not exist"


def _webhooks(info: Info) -> ShopifyWebhooks:
    context: RequestContext = info.context
    assert context.webhooks is not None
    return context.webhooks


def _number(text: str) -> int:
    parsed = parse_gid(text)
    return parsed[1] if parsed and parsed[0] == "WebhookSubscription" else 0


def _subscription(_: Any, info: Info, id: str) -> dict[str, Any] | None:
    found = _webhooks(info).get(_number(id))
    return subscription_json(found) if found else None


def _subscriptions(_: Any, info: Info, **args: Any) -> Connection:
    uri = args.get("uri") or args.get("callbackUrl")
    found = {one.id: one for one in _webhooks(info).list(args.get("topics"), uri)}
    return page([(number, number) for number in found], lambda key: subscription_json(found[key[1]]), args)


def _create(_: Any, info: Info, topic: str, webhookSubscription: dict[str, Any]) -> dict[str, Any]:
    context: RequestContext = info.context
    if topic.startswith(_PRODUCT_TOPICS):
        context.require_scope("products", "webhookSubscriptionCreate")
    refusal = context.quirks.refuses_webhooks
    created = refusal or _webhooks(info).create(topic, webhookSubscription, context.site)
    if isinstance(created, str):
        return _payload(None, created, ["webhookSubscription", "callbackUrl"])
    return _payload(created)


def _update(_: Any, info: Info, id: str, webhookSubscription: dict[str, Any]) -> dict[str, Any]:
    updated = _webhooks(info).update(_number(id), webhookSubscription)
    return _payload(updated) if updated else _payload(None, _MISSING, ["id"])


def _delete(_: Any, info: Info, id: str) -> dict[str, Any]:
    number = _number(id)
    if not _webhooks(info).delete(number):
        errors = [{"field": ["id"], "message": _MISSING}]
        return {"deletedWebhookSubscriptionId": None, "userErrors": errors}
    return {"deletedWebhookSubscriptionId": gid("WebhookSubscription", number), "userErrors": []}


def _payload(found: Subscription | None, message: str = "", field: list[str] | None = None) -> dict[str, Any]:
    return {
        "webhookSubscription": subscription_json(found) if found else None,
        "userErrors": [{"field": field, "message": message}] if message else [],
    }


WEBHOOK_ROOT: Mapping[str, Callable[..., Any]] = {
    "webhookSubscription": _subscription,
    "webhookSubscriptions": _subscriptions,
}
WEBHOOK_MUTATION: Mapping[str, Callable[..., Any]] = {
    "webhookSubscriptionCreate": _create,
    "webhookSubscriptionUpdate": _update,
    "webhookSubscriptionDelete": _delete,
}
