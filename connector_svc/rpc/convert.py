"""Converts domain objects to proto messages.

`fill_product` is the hot path of the service: every variant of every sync passes through it. Its submessages are
filled in place, because building and copying them costs twice as much.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Final

from catalogsync.connector.v1 import connector_service_pb2 as pb
from catalogsync.errors.v1 import issue_reason_pb2
from catalogsync.types.v1 import product_pb2
from catalogsync_common.timestamps import fill_time

from connector_svc.domain.fetch import End, Header, Offer, StockLevel, Wait, WaitReason
from connector_svc.domain.product import Image, InventoryPolicy, Product, ProductStatus, SelectedOption, Variant
from connector_svc.domain.records import SAMPLE_LENGTH, IssueReason, RecordIssue
from connector_svc.domain.shop import ShopInfo
from connector_svc.domain.webhook import VerifiedWebhook, WebhookKind, WebhookState, WebhookSubscription
from connector_svc.platforms.base import Platform
from connector_svc.webhook_setup import WebhookReport

MAX_SAMPLE: Final = 200
"""Maximum characters of an offending value."""
MAX_TEXT: Final = 500
"""Maximum characters of what is written for people."""

_REASONS: Final[Mapping[IssueReason, issue_reason_pb2.IssueReason.ValueType]] = {
    reason: issue_reason_pb2.IssueReason.Value(f"ISSUE_REASON_{reason.name}") for reason in IssueReason
}
_WAITS: Final[Mapping[WaitReason, pb.Waiting.Reason.ValueType]] = {
    reason: pb.Waiting.Reason.Value(f"REASON_{reason.name}") for reason in WaitReason
}

_WEBHOOK_KINDS: Final[Mapping[WebhookKind, pb.VerifyWebhookResponse.Kind.ValueType]] = {
    kind: pb.VerifyWebhookResponse.Kind.Value(f"KIND_{kind.name}") for kind in WebhookKind
}

_WEBHOOK_STATES: Final[Mapping[WebhookState, pb.WebhookSubscription.State.ValueType]] = {
    state: pb.WebhookSubscription.State.Value(f"STATE_{state.name}") for state in WebhookState
}


def header_message(header: Header) -> pb.FetchProductsResponse:
    """Return the first message of a stream."""
    shop_info = header.shop_info
    message = pb.FetchHeader(
        currency_code=shop_info.currency_code,
        platform_shop_id=shop_info.platform_shop_id,
        display_name=shop_info.display_name,
        estimated_product_count=header.estimated_product_count,
        estimated_variant_count=header.estimated_variant_count,
        strategy=header.strategy,
        strategy_reason=header.strategy_reason,
        served_api_version=shop_info.served_api_version,
        resumed=header.resumed,
        notes=[note[:MAX_TEXT] for note in header.notes],
    )
    fill_time(message.watermark_time, header.watermark)
    return pb.FetchProductsResponse(header=message)


def waiting_message(wait: Wait) -> pb.FetchProductsResponse:
    """Return the message that the connector waits."""
    message = pb.Waiting(
        reason=_WAITS[wait.reason],
        message=wait.message[:MAX_TEXT],
        done_count=wait.done_count,
        total_count=wait.total_count,
    )
    fill_time(message.resume_time, wait.until)
    return pb.FetchProductsResponse(waiting=message)


def heartbeat_message() -> pb.FetchProductsResponse:
    """Return the message that the connector is alive."""
    return pb.FetchProductsResponse(heartbeat=pb.Heartbeat())


def end_message(end: End) -> pb.FetchProductsResponse:
    """Return the last message of a complete pass."""
    return pb.FetchProductsResponse(
        end=pb.FetchEnd(
            source_count=end.source_count,
            emitted_count=end.emitted_count,
            rejected_count=end.rejected_count,
            emitted_variant_count=end.emitted_variant_count,
            warnings=end.warnings,
            all_listed=end.all_listed,
            notes=[note[:MAX_TEXT] for note in end.notes],
            absence_proven=end.absence_proven,
        )
    )


def issue_message(issue: RecordIssue, redact: Callable[[str], str]) -> pb.RecordIssue:
    """Return the issue with its texts redacted, then cut: no pattern recognizes half of a secret."""
    return pb.RecordIssue(
        reason=_REASONS[issue.reason],
        product_id=issue.product_id,
        variant_id=issue.variant_id,
        field=issue.field[:MAX_SAMPLE],
        message=redact(issue.message[:SAMPLE_LENGTH])[:MAX_TEXT],
        sample=redact(issue.sample[:SAMPLE_LENGTH])[:MAX_SAMPLE],
        product_rejected=issue.product_rejected,
    )


def stock_level_message(level: StockLevel) -> pb.StockLevel:
    """Return a stock level, with the offer if it was read."""
    return pb.StockLevel(
        product_id=level.product_id,
        variant_id=level.variant_id,
        stock_quantity=level.stock_quantity,
        available=level.available,
        offer=_offer_message(level.offer) if level.offer else None,
    )


def _offer_message(offer: Offer) -> pb.Offer:
    return pb.Offer(
        sku=offer.sku,
        price_amount=None if offer.price is None else _digits(offer.price),
        compare_at_price_amount=None if offer.compare_at_price is None else _digits(offer.compare_at_price),
    )


def shop_info_message(shop_info: ShopInfo, report: WebhookReport | None = None) -> pb.CheckShopResponse:
    """Return the reply of CheckShop; `report`: of the shop's webhooks."""
    report = report or WebhookReport()
    return pb.CheckShopResponse(
        currency_code=shop_info.currency_code,
        platform_shop_id=shop_info.platform_shop_id,
        display_name=shop_info.display_name,
        served_api_version=shop_info.served_api_version,
        product_count=shop_info.product_count,
        variant_count=shop_info.variant_count,
        granted_scopes=shop_info.granted_scopes,
        notes=[note[:MAX_TEXT] for note in (*shop_info.notes, *report.notes)],
        webhooks=map(subscription_message, report.webhooks),
    )


def subscription_message(webhook: WebhookSubscription) -> pb.WebhookSubscription:
    """Return a webhook of a shop."""
    return pb.WebhookSubscription(
        id=webhook.id,
        topic=webhook.topic,
        address=webhook.address,
        state=_WEBHOOK_STATES[webhook.state],
        changed=webhook.changed,
    )


def webhook_message(webhook: VerifiedWebhook) -> pb.VerifyWebhookResponse:
    """Return the reply of VerifyWebhook."""
    content, shop = webhook.content, webhook.shop
    message = pb.VerifyWebhookResponse(
        shop=pb.ShopRef(platform=shop.platform, domain=shop.domain) if shop else None,
        kind=_WEBHOOK_KINDS[content.kind],
        topic=content.topic[:MAX_TEXT],
        product_ids=content.product_ids,
        variant_ids=content.variant_ids,
        delivery_id=content.delivery_id[:MAX_TEXT],
    )
    if content.triggered_at is not None:
        fill_time(message.trigger_time, content.triggered_at)
    return message


def platform_message(platform: Platform, *, webhooks: bool) -> pb.Platform:
    """Return one entry of ListPlatforms; `webhooks`: whether they can be created on the platform."""
    return pb.Platform(
        name=platform.name,
        display_name=platform.display_name,
        domain_pattern=platform.domain_pattern,
        capabilities=pb.PlatformCapabilities(
            incremental=platform.capabilities.incremental,
            bulk=platform.capabilities.bulk,
            deletions=platform.capabilities.deletions,
            webhooks=webhooks,
        ),
    )


_STATUS: Final[Mapping[ProductStatus, product_pb2.ProductStatus.ValueType]] = {
    status: product_pb2.ProductStatus.Value(f"PRODUCT_STATUS_{status.name}") for status in ProductStatus
}
_POLICY: Final[Mapping[InventoryPolicy, pb.Variant.InventoryPolicy.ValueType]] = {
    policy: pb.Variant.InventoryPolicy.Value(f"INVENTORY_POLICY_{policy.name}") for policy in InventoryPolicy
}


def fill_product(out: pb.Product, product: Product) -> None:
    """Fill `out`. Raises ValueError if a value does not fit its field."""
    out.id = product.id
    out.title = product.title
    out.handle = product.handle
    out.description_html = product.description_html
    out.vendor = product.vendor
    out.product_type = product.product_type
    out.tags.extend(product.tags)
    out.status = _STATUS[product.status]
    out.url = product.url
    for option in product.options:
        out.options.add(name=option.name, values=option.values)
    for image in product.images:
        fill_image(out.images.add(), image)
    if product.created_at is not None:
        fill_time(out.create_time, product.created_at)
    if product.updated_at is not None:
        fill_time(out.update_time, product.updated_at)
    _fill_variants(out, product.variants)
    out.variants_complete = product.variants_complete


def _fill_variants(out: pb.Product, variants: Iterable[Variant]) -> None:
    add = out.variants.add
    for variant in variants:
        fill_variant(add(), variant)


def fill_variant(out: pb.Variant, variant: Variant) -> None:
    """Fill `out`; prices keep the platform's own digits. Raises ValueError if a value does not fit its field."""
    out.id = variant.id
    if variant.title:
        out.title = variant.title
    if variant.sku:
        out.sku = variant.sku
    if variant.barcode:
        out.barcode = variant.barcode
    if variant.price is not None:
        out.price_amount = _digits(variant.price)
    if variant.compare_at_price is not None:
        out.compare_at_price_amount = _digits(variant.compare_at_price)
    if variant.stock_quantity is not None:
        out.stock_quantity = variant.stock_quantity
    out.inventory_policy = _POLICY[variant.inventory_policy]
    out.available = variant.available
    if variant.options:
        _fill_options(out, variant.options)
    if variant.image is not None:
        fill_image(out.image, variant.image)
    if variant.weight is not None:
        out.weight = _digits(variant.weight)
        out.weight_unit = variant.weight_unit
    out.position = variant.position
    if variant.created_at is not None:
        fill_time(out.create_time, variant.created_at)
    if variant.updated_at is not None:
        fill_time(out.update_time, variant.updated_at)


def _fill_options(out: pb.Variant, options: Iterable[SelectedOption]) -> None:
    add = out.options.add
    for option in options:
        selected = add()
        selected.name = option.name
        selected.value = option.value


def _digits(number: Decimal) -> str:
    """Return the platform's own digits, never with an exponent. `str` costs a third of `format`."""
    text = str(number)
    return format(number, "f") if "E" in text else text


def fill_image(out: pb.Image, image: Image) -> None:
    """Fill `out`."""
    out.id = image.id
    out.url = image.url
    if image.alt_text:
        out.alt_text = image.alt_text
    if image.width:
        out.width = image.width
    if image.height:
        out.height = image.height
    if image.version:
        out.version = image.version
