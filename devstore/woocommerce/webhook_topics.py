"""The topics of webhooks: which exist, and which a change of the catalog fires."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from devstore.catalog.change import Change, ChangeKind
from devstore.woocommerce.errors import RestError

_RESOURCES: Final = ("coupon", "customer", "order", "product")
_EVENTS: Final = ("created", "updated", "deleted", "restored")


def parse_topic(fields: Mapping[str, object]) -> str:
    """Return the topic of a new webhook: any action, or an event of a resource. Raises RestError."""
    topic = fields.get("topic")
    if isinstance(topic, str):
        resource, _, event = topic.partition(".")
        if (resource == "action" and event) or (resource in _RESOURCES and event in _EVENTS):
            return topic
    raise RestError(400, "woocommerce_rest_shop_webhook_invalid_topic", "Webhook topic must be valid.")


def fired_topics(change: Change) -> Iterable[tuple[str, int | None]]:
    """Yield the topics that a change fires, each with the id of the product or variation."""
    match change.kind:
        case ChangeKind.PRODUCT_CREATED | ChangeKind.PRODUCT_UPDATED:
            yield from _saved(change, change.product_id, "product")
        case ChangeKind.VARIANT_CREATED | ChangeKind.VARIANT_UPDATED:
            yield from _saved(change, change.variant_ids[0], "product_variation")
        case ChangeKind.PRODUCT_TRASHED:
            # Variations first, as the store does.
            for number in change.variant_ids:
                yield "product.deleted", number
                yield "action.woocommerce_trash_product_variation", number
            yield "product.deleted", change.product_id
            yield "action.woocommerce_trash_product", change.product_id
        case ChangeKind.VARIANT_DELETED:
            yield "action.woocommerce_delete_product_variation", change.variant_ids[0]
        case ChangeKind.PRODUCT_DELETED:
            # Not `product.deleted`: that is for the trash alone.
            for number in change.variant_ids:
                yield "action.woocommerce_delete_product_variation", number
            yield "action.woocommerce_delete_product", change.product_id


def _saved(change: Change, number: int, kind: str) -> Iterable[tuple[str, int | None]]:
    created = change.kind in (ChangeKind.PRODUCT_CREATED, ChangeKind.VARIANT_CREATED)
    yield ("product.created" if created else "product.updated"), number
    yield f"action.woocommerce_{'new' if created else 'update'}_{kind}", number
    if change.stock_changed:
        # Without an id.
        stock_topic = "variation" if kind == "product_variation" else "product"
        yield f"action.woocommerce_{stock_topic}_set_stock", None
        yield "action.woocommerce_updated_product_stock", number
