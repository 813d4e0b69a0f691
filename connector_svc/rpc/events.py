"""Everything but products as it goes over the wire."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from catalogsync.connector.v1 import connector_service_pb2 as pb
from catalogsync.errors.v1 import issue_reason_pb2

from connector_svc.domain.fetch import End, Header, Offer, StockLevel, Wait, WaitReason
from connector_svc.domain.issue import SAMPLE_LENGTH, IssueReason, RecordIssue
from connector_svc.domain.shop import ShopInfo
from connector_svc.platforms.base import Platform
from connector_svc.rpc.products import fill_time

MAX_SAMPLE: Final = 200
"""Characters of an offending value."""
MAX_TEXT: Final = 500
"""Characters of what is written for people."""

_REASONS: Final[Mapping[IssueReason, issue_reason_pb2.IssueReason.ValueType]] = {
    reason: issue_reason_pb2.IssueReason.Value(f"ISSUE_REASON_{reason.name}") for reason in IssueReason
}
_WAITS: Final[Mapping[WaitReason, pb.Waiting.Reason.ValueType]] = {
    reason: pb.Waiting.Reason.Value(f"REASON_{reason.name}") for reason in WaitReason
}


def header_message(header: Header) -> pb.FetchProductsResponse:
    """The first message of a stream."""
    facts = header.shop_info
    message = pb.FetchHeader(
        currency_code=facts.currency_code,
        platform_shop_id=facts.platform_shop_id,
        shop_name=facts.shop_name,
        estimated_product_count=header.estimated_product_count,
        estimated_item_count=header.estimated_item_count,
        strategy=header.strategy,
        strategy_reason=header.strategy_reason,
        served_api_version=facts.served_api_version,
        resumed=header.resumed,
        notes=[note[:MAX_TEXT] for note in header.notes],
    )
    fill_time(message.watermark_time, header.watermark)
    return pb.FetchProductsResponse(header=message)


def waiting_message(wait: Wait) -> pb.FetchProductsResponse:
    """That the connector waits."""
    message = pb.Waiting(
        reason=_WAITS[wait.reason],
        message=wait.message[:MAX_TEXT],
        done_count=wait.done_count,
        total_count=wait.total_count,
    )
    fill_time(message.until_time, wait.until)
    return pb.FetchProductsResponse(waiting=message)


def heartbeat_message() -> pb.FetchProductsResponse:
    """That the connector is alive."""
    return pb.FetchProductsResponse(heartbeat=pb.Heartbeat())


def end_message(end: End) -> pb.FetchProductsResponse:
    """The last message of a complete pass."""
    return pb.FetchProductsResponse(
        end=pb.FetchEnd(
            source_count=end.source_count,
            emitted_count=end.emitted_count,
            set_aside_count=end.rejected_count,
            emitted_item_count=end.emitted_item_count,
            warnings=end.warnings,
            all_listed=end.all_listed,
            notes=[note[:MAX_TEXT] for note in end.notes],
            absence_proven=end.absence_proven,
        )
    )


def issue_message(issue: RecordIssue, redact: Callable[[str], str]) -> pb.RecordIssue:
    """The issue with its texts redacted, then cut: no pattern knows the half of a secret."""
    return pb.RecordIssue(
        reason=_REASONS[issue.reason],
        product_id=issue.product_id,
        variant_id=issue.variant_id,
        field=issue.field[:MAX_SAMPLE],
        message=redact(issue.message[:SAMPLE_LENGTH])[:MAX_TEXT],
        sample=redact(issue.sample[:SAMPLE_LENGTH])[:MAX_SAMPLE],
        product_set_aside=issue.product_rejected,
    )


def level_message(level: StockLevel) -> pb.StockLevel:
    """Stock, and the offer where it is known."""
    return pb.StockLevel(
        product_id=level.product_id,
        variant_id=level.variant_id,
        stock_quantity=level.stock_quantity,
        available=level.available,
        offer=_offer_message(level.offer) if level.offer else None,
    )


def _offer_message(offer: Offer) -> pb.Offer:
    before = offer.compare_at_price
    return pb.Offer(
        sku=offer.sku,
        price=None if offer.price is None else str(offer.price),
        compare_at_price=None if before is None else str(before),
    )


def shop_info_message(shop_info: ShopInfo) -> pb.CheckShopResponse:
    """What CheckShop answers."""
    return pb.CheckShopResponse(
        currency_code=shop_info.currency_code,
        platform_shop_id=shop_info.platform_shop_id,
        shop_name=shop_info.shop_name,
        served_api_version=shop_info.served_api_version,
        product_count=shop_info.product_count,
        item_count=shop_info.item_count,
        granted_scopes=shop_info.granted_scopes,
        notes=shop_info.notes,
    )


def platform_message(platform: Platform) -> pb.Platform:
    """One entry of ListPlatforms."""
    return pb.Platform(
        name=platform.name,
        display_name=platform.display_name,
        domain_pattern=platform.domain_pattern,
        capabilities=pb.PlatformCapabilities(
            incremental=platform.capabilities.incremental,
            bulk=platform.capabilities.bulk,
            deletions=platform.capabilities.deletions,
        ),
    )
