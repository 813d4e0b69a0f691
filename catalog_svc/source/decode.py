"""Decodes messages of the connector to the catalog's domain; products stay messages until they are unpacked."""

from __future__ import annotations

import hashlib
from functools import partial

from catalogsync.connector.v1 import connector_service_pb2 as pb
from catalogsync.errors.v1 import issue_reason_pb2
from google.protobuf.message import Message

from catalog_svc.domain.progress import Waiting, WaitReason
from catalog_svc.domain.records import IncomingProduct, RecordIssue
from catalog_svc.domain.shop import ShopProfile
from catalog_svc.domain.source import Offer, SourceBatch, SourceEnd, SourceHeader, StockLevel
from catalog_svc.source.unpack import parse_decimal, to_datetime, unpack


def header(message: pb.FetchHeader) -> SourceHeader:
    """Decode the header, which begins a pass."""
    return SourceHeader(
        profile=ShopProfile(
            currency_code=message.currency_code,
            platform_shop_id=message.platform_shop_id,
            display_name=message.shop_name,
        ),
        watermark=to_datetime(message.watermark_time),
        strategy=message.strategy,
        served_api_version=message.served_api_version,
        estimated_product_count=_optional_count(message, "estimated_product_count"),
        estimated_item_count=_optional_count(message, "estimated_item_count"),
        notes=tuple(map(_storable, message.notes)),
    )


def batch(message: pb.ProductBatch, *, currency_code: str) -> SourceBatch:
    """Decode a batch. Products stay packed: most products of a re-sync are only compared by hash.

    Args:
        message: The batch.
        currency_code: The shop's currency, from the header of the pass.
    """
    issues = [_issue(issue) for issue in message.issues]
    levels = tuple(_stock_level(level, issues) for level in message.stock_levels)
    return SourceBatch(
        products=tuple(_incoming(product, currency_code) for product in message.products),
        issues=tuple(issues),
        checkpoint=message.checkpoint,
        deleted_product_ids=tuple(map(_storable, message.deleted_product_ids)),
        stock_levels=levels,
        listed_product_ids=tuple(map(_storable, message.listed_product_ids)),
    )


def waiting(message: pb.Waiting) -> Waiting:
    """Decode a wait of the connector; a reason that this release does not know becomes CONNECTOR."""
    name = pb.Waiting.Reason.Name(message.reason).removeprefix("REASON_")
    known = name in WaitReason.__members__ and name != WaitReason.UNSPECIFIED.name
    return Waiting(
        reason=WaitReason[name] if known else WaitReason.CONNECTOR,
        until=to_datetime(message.until_time),
        message=message.message,
        done_count=_optional_count(message, "done_count"),
        total_count=_optional_count(message, "total_count"),
    )


def end(message: pb.FetchEnd) -> SourceEnd:
    """Decode the end of a complete pass."""
    return SourceEnd(
        source_count=message.source_count,
        emitted_count=message.emitted_count,
        rejected_count=message.set_aside_count,
        warnings=tuple(map(_storable, message.warnings)),
        all_listed=message.all_listed,
        absence_proven=message.absence_proven,
        notes=tuple(map(_storable, message.notes)),
    )


def _incoming(product: pb.Product, currency_code: str) -> IncomingProduct:
    raw = product.SerializeToString(deterministic=True)
    content_hash = hashlib.blake2b(raw, digest_size=16, person=currency_code.encode()[:16]).digest()
    return IncomingProduct(
        product_id=_storable(product.id),
        content_hash=content_hash,
        item_count=len(product.variants),
        variants_complete=product.variants_complete,
        unpack=partial(
            unpack, product, currency_code=currency_code, content_hash=content_hash, zero_bytes=raw.count(0)
        ),
    )


def _issue(issue: pb.RecordIssue) -> RecordIssue:
    return RecordIssue(
        reason=issue_reason_pb2.IssueReason.Name(issue.reason).removeprefix("ISSUE_REASON_"),
        product_id=_storable(issue.product_id),
        item_id=_storable(issue.variant_id),
        field=_storable(issue.field),
        message=_storable(issue.message),
        sample=_storable(issue.sample),
        product_rejected=issue.product_set_aside,
    )


def _stock_level(level: pb.StockLevel, issues: list[RecordIssue]) -> StockLevel:
    """Decode a stock level. An offer with an invalid price is left out, and adds to `issues`."""
    return StockLevel(
        item_id=_storable(level.variant_id),
        stock_quantity=_optional_count(level, "stock_quantity"),
        available=level.available,
        offer=_offer(level, issues) if level.HasField("offer") else None,
    )


def _offer(level: pb.StockLevel, issues: list[RecordIssue]) -> Offer | None:
    try:
        price, compare_at_price = parse_decimal(level.offer.price), parse_decimal(level.offer.compare_at_price)
    except ValueError as error:
        issues.append(
            RecordIssue(
                reason="INVALID_PRICE",
                product_id=_storable(level.product_id),
                item_id=_storable(level.variant_id),
                field="price",
                message=_storable(str(error)),
                sample="",
                product_rejected=False,
            )
        )
        return None
    return Offer(sku=_storable(level.offer.sku), price=price, compare_at_price=compare_at_price)


def _optional_count(message: Message, field: str) -> int | None:
    return getattr(message, field) if message.HasField(field) else None


def _storable(text: str) -> str:
    """Remove NUL, which PostgreSQL's text cannot hold."""
    return text.replace("\0", "")
