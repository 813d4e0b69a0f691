"""Messages of the connector to the catalog's domain."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial

import msgspec
from catalogsync.connector.v1 import connector_service_pb2 as pb
from catalogsync.errors.v1 import issue_reason_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from catalog_svc.domain.issue import RecordIssue
from catalog_svc.domain.product import IncomingProduct, ItemRecord, ProductRecord
from catalog_svc.domain.progress import Waiting, WaitReason
from catalog_svc.domain.shop import ShopProfile
from catalog_svc.domain.source import SourceBatch, SourceEnd, SourceHeader

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STATUS = {
    number: name.removeprefix("STATUS_").replace("UNSPECIFIED", "") for name, number in pb.Product.Status.items()
}
_CONTINUE = pb.Variant.INVENTORY_POLICY_CONTINUE


def header(message: pb.FetchHeader) -> SourceHeader:
    """The start of a pass."""
    return SourceHeader(
        profile=ShopProfile(
            currency_code=message.currency_code,
            platform_shop_id=message.platform_shop_id,
            display_name=message.shop_name,
        ),
        watermark=time(message.watermark_time),
        strategy=message.strategy,
        served_api_version=message.served_api_version,
        estimated_product_count=_optional_count(message, "estimated_product_count"),
        estimated_item_count=_optional_count(message, "estimated_item_count"),
    )


def batch(message: pb.ProductBatch, *, currency_code: str) -> SourceBatch:
    """Products stay packed: most of a re-sync is only compared by hash."""
    return SourceBatch(
        products=tuple(_incoming(product, currency_code) for product in message.products),
        issues=tuple(_issue(issue) for issue in message.issues),
        checkpoint=message.checkpoint,
        deleted_product_ids=tuple(message.deleted_product_ids),
    )


def waiting(message: pb.Waiting) -> Waiting:
    """A pause of the connector's."""
    name = pb.Waiting.Reason.Name(message.reason).removeprefix("REASON_")
    known = name in WaitReason.__members__
    return Waiting(
        reason=WaitReason[name] if known else WaitReason.CONNECTOR,
        until=time(message.until_time),
        message=message.message,
        done_count=_optional_count(message, "done_count"),
        total_count=_optional_count(message, "total_count"),
    )


def end(message: pb.FetchEnd) -> SourceEnd:
    """The end of a complete pass."""
    return SourceEnd(
        source_count=message.source_count,
        emitted_count=message.emitted_count,
        set_aside_count=message.set_aside_count,
        warnings=tuple(message.warnings),
    )


def time(stamp: Timestamp) -> datetime:
    """UTC, to the microsecond."""
    return _EPOCH + timedelta(seconds=stamp.seconds, microseconds=stamp.nanos // 1000)


def _incoming(product: pb.Product, currency_code: str) -> IncomingProduct:
    raw = product.SerializeToString(deterministic=True)
    if b"\0" in raw:
        # PostgreSQL's text cannot hold NUL. It may also stand for an empty part; then all stays.
        _drop_nul(product)
        raw = product.SerializeToString(deterministic=True)
    content_hash = hashlib.blake2b(raw, digest_size=16, person=currency_code.encode()[:16]).digest()
    return IncomingProduct(
        product_id=product.id,
        content_hash=content_hash,
        item_count=len(product.variants),
        variants_complete=product.variants_complete,
        unpack=partial(_unpack, product, currency_code, content_hash),
    )


def _unpack(
    product: pb.Product, currency_code: str, content_hash: bytes
) -> tuple[ProductRecord, list[ItemRecord]]:
    record = ProductRecord(
        product_id=product.id,
        content_hash=content_hash,
        title=product.title,
        handle=product.handle,
        description_html=product.description_html,
        vendor=product.vendor,
        product_type=product.product_type,
        tags=list(product.tags),
        status=_STATUS.get(product.status, ""),
        url=product.url,
        options=_json([[option.name, list(option.values)] for option in product.options]),
        images=_json([_image(image) for image in product.images]),
        source_created_at=_optional_time(product, "create_time"),
        source_updated_at=_optional_time(product, "update_time"),
        item_count=len(product.variants),
    )
    fallback = product.images[0].url if product.images else ""
    return record, [_item(variant, product.id, currency_code, fallback) for variant in product.variants]


def _item(variant: pb.Variant, product_id: str, currency_code: str, fallback_image: str) -> ItemRecord:
    return ItemRecord(
        item_id=variant.id,
        product_id=product_id,
        position=variant.position,
        title=variant.title,
        sku=variant.sku,
        barcode=variant.barcode,
        currency_code=currency_code,
        price=_optional_decimal(variant, "price"),
        compare_at_price=_optional_decimal(variant, "compare_at_price"),
        stock_quantity=_optional_count(variant, "stock_quantity"),
        available=variant.available,
        sellable_without_stock=variant.inventory_policy == _CONTINUE,
        options=_json([[option.name, option.value] for option in variant.options]),
        image_url=variant.image.url or fallback_image,
        weight=_optional_decimal(variant, "weight"),
        weight_unit=variant.weight_unit,
        source_created_at=_optional_time(variant, "create_time"),
        source_updated_at=_optional_time(variant, "update_time"),
    )


def _image(image: pb.Image) -> dict[str, object]:
    return {
        "id": image.id,
        "url": image.url,
        "alt_text": image.alt_text,
        "width": image.width,
        "height": image.height,
    }


def _issue(issue: pb.RecordIssue) -> RecordIssue:
    return RecordIssue(
        reason=issue_reason_pb2.IssueReason.Name(issue.reason).removeprefix("ISSUE_REASON_"),
        product_id=issue.product_id.replace("\0", ""),
        item_id=issue.variant_id.replace("\0", ""),
        field=issue.field.replace("\0", ""),
        message=issue.message.replace("\0", ""),
        sample=issue.sample.replace("\0", ""),
        product_set_aside=issue.product_set_aside,
    )


def _json(value: Sequence[object]) -> str:
    return msgspec.json.encode(value).decode()


def _optional_count(message: Message, field: str) -> int | None:
    return getattr(message, field) if message.HasField(field) else None


def _optional_decimal(message: Message, field: str) -> Decimal | None:
    return Decimal(getattr(message, field)) if message.HasField(field) else None


def _optional_time(message: Message, field: str) -> datetime | None:
    return time(getattr(message, field)) if message.HasField(field) else None


def _drop_nul(message: Message) -> None:
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for part in value if field.is_repeated else [value]:
                _drop_nul(part)
        elif field.type == FieldDescriptor.TYPE_STRING and field.is_repeated:
            value[:] = [text.replace("\0", "") for text in value]
        elif field.type == FieldDescriptor.TYPE_STRING and "\0" in value:
            setattr(message, field.name, value.replace("\0", ""))
