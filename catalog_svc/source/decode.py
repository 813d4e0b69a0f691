"""Decodes messages of the connector to the catalog's domain, and unpacks products to the rows that are stored.

Products stay messages until their content hash was compared: most products of a repeated sync are never unpacked.
Unpacking is the hot path of a first load, about 4 µs per variant, most of it field access on protobuf messages:
scalars are read once; times and options, which are messages themselves, as rarely as possible.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import partial

import msgspec
from catalogsync.connector.v1 import connector_service_pb2 as pb
from catalogsync.errors.v1 import issue_reason_pb2
from catalogsync.types.v1 import product_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from catalog_svc.domain.records import IncomingProduct, ItemRecord, ProductRecord, RecordIssue, RecordRejected
from catalog_svc.domain.shop import ShopProfile
from catalog_svc.domain.source import Offer, SourceBatch, SourceEnd, SourceHeader, StockLevel
from catalog_svc.domain.sync import Waiting, WaitReason

_PLAIN_NUMBER = re.compile(r"(?:0|[1-9][0-9]{0,29})(?:\.[0-9]{1,30})?")
_MAX_NUMBER_CHARACTERS = 60

_STATUS = {
    number: name.removeprefix("PRODUCT_STATUS_").replace("UNSPECIFIED", "")
    for name, number in product_pb2.ProductStatus.items()
}
_CONTINUE = pb.Variant.INVENTORY_POLICY_CONTINUE


def header(message: pb.FetchHeader) -> SourceHeader:
    """Decode the header, which begins a pass."""
    return SourceHeader(
        profile=ShopProfile(
            currency_code=message.currency_code,
            platform_shop_id=message.platform_shop_id,
            display_name=message.display_name,
        ),
        watermark=to_datetime(message.watermark_time),
        strategy=message.strategy,
        served_api_version=message.served_api_version,
        estimated_product_count=_optional_count(message, "estimated_product_count"),
        estimated_item_count=_optional_count(message, "estimated_variant_count"),
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
        until=to_datetime(message.resume_time),
        message=message.message,
        done_count=_optional_count(message, "done_count"),
        total_count=_optional_count(message, "total_count"),
    )


def end(message: pb.FetchEnd) -> SourceEnd:
    """Decode the end of a complete pass."""
    return SourceEnd(
        source_count=message.source_count,
        emitted_count=message.emitted_count,
        rejected_count=message.rejected_count,
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
        product_rejected=issue.product_rejected,
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
        price, compare_at_price = (
            parse_decimal(level.offer.price_amount),
            parse_decimal(level.offer.compare_at_price_amount),
        )
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


def unpack(
    product: pb.Product, *, currency_code: str, content_hash: bytes, zero_bytes: int
) -> tuple[ProductRecord, list[ItemRecord]]:
    """Return the rows of a product and its variants, without NUL, which PostgreSQL's text cannot hold.

    Args:
        product: The product with its variants.
        currency_code: The shop's currency.
        content_hash: Hash of the product, its variants and the currency.
        zero_bytes: Number of zero bytes of the encoded product: each stock quantity of 0 has one, any other may be
            a NUL within a text.

    Raises:
        RecordRejected: The product has a number or a time that cannot be stored.
    """
    try:
        return _unpack(product, currency_code, content_hash, zero_bytes)
    except (ValueError, OverflowError, OSError) as error:
        # The connector rejects such values itself; a connector of another release may not.
        raise RecordRejected(_rejection(product)) from error


def parse_decimal(text: str) -> str | None:
    """Return the number as PostgreSQL would write it, digit for digit; None for an empty text.

    Raises:
        ValueError: The text is not a finite decimal number of up to 60 digits.
    """
    if not text:
        return None
    return text if _PLAIN_NUMBER.fullmatch(text) else _normalized(text)


def to_datetime(stamp: Timestamp) -> datetime:
    """Convert a timestamp to UTC, cut to microseconds.

    Raises:
        ValueError, OverflowError, OSError: The year is out of range.
    """
    moment = datetime.fromtimestamp(stamp.seconds, UTC)
    nanos = stamp.nanos
    return moment.replace(microsecond=nanos // 1000) if nanos else moment


def _unpack(
    product: pb.Product, currency_code: str, content_hash: bytes, zero_bytes: int
) -> tuple[ProductRecord, list[ItemRecord]]:
    items = _items(product, currency_code)
    if zero_bytes > sum(item.stock_quantity == 0 for item in items):
        _drop_nul(product)
        items = _items(product, currency_code)
    return _record(product, content_hash), items


def _normalized(text: str) -> str:
    """Parse a number with a sign, an exponent or leading zeros. Decimal accepts "1_0" and "NaN", too."""
    try:
        value = Decimal(text) if text.isascii() and "_" not in text else Decimal("NaN")
    except InvalidOperation:
        value = Decimal("NaN")
    if (
        not value.is_finite()
        or len(text) > _MAX_NUMBER_CHARACTERS
        or abs(value.adjusted()) > _MAX_NUMBER_CHARACTERS
    ):
        raise ValueError(f"{text[:_MAX_NUMBER_CHARACTERS]!r} is not an exact decimal number")
    return format(value or value.copy_abs(), "f")


def _rejection(product: pb.Product) -> RecordIssue:
    """Return an issue that names the field that cannot be stored; called only after unpacking has failed."""
    for variant in product.variants:
        for field, text in (
            ("price", variant.price_amount),
            ("compare_at_price", variant.compare_at_price_amount),
            ("weight", variant.weight),
        ):
            try:
                parse_decimal(text)
            except ValueError:
                reason = "INVALID_FIELD" if field == "weight" else "INVALID_PRICE"
                return _rejected_product(
                    product, reason, field, "is not an exact decimal number", text, item_id=variant.id
                )
    return _rejected_product(product, "INVALID_FIELD", "update_time", "a time is out of range", "")


def _rejected_product(
    product: pb.Product, reason: str, field: str, message: str, sample: str, *, item_id: str = ""
) -> RecordIssue:
    texts = {
        "product_id": product.id,
        "item_id": item_id,
        "field": field,
        "message": message,
        "sample": sample[:_MAX_NUMBER_CHARACTERS],
    }
    storable = {name: text.replace("\0", "") for name, text in texts.items()}
    return RecordIssue(reason=reason, product_rejected=True, **storable)


def _record(product: pb.Product, content_hash: bytes) -> ProductRecord:
    return ProductRecord(
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
        source_created_at=_created(product),
        source_updated_at=_updated(product),
        item_count=len(product.variants),
    )


def _items(product: pb.Product, currency_code: str) -> list[ItemRecord]:
    product_id = product.id
    fallback_image = product.images[0] if product.images else pb.Image()
    return [_item(variant, product_id, currency_code, fallback_image) for variant in product.variants]


def _item(variant: pb.Variant, product_id: str, currency_code: str, fallback_image: pb.Image) -> ItemRecord:
    stock = variant.stock_quantity
    image = variant.image if variant.image.url else fallback_image
    # By position: with nineteen keyword arguments the call would take three times as long.
    return ItemRecord(
        variant.id,
        product_id,
        variant.position,
        variant.title,
        variant.sku,
        variant.barcode,
        currency_code,
        parse_decimal(variant.price_amount),
        parse_decimal(variant.compare_at_price_amount),
        stock if stock or variant.HasField("stock_quantity") else None,
        variant.available,
        variant.inventory_policy == _CONTINUE,
        _json([[option.name, option.value] for option in variant.options]),
        image.url,
        image.version,
        parse_decimal(variant.weight),
        variant.weight_unit,
        _created(variant),
        _updated(variant),
    )


def _created(message: pb.Product | pb.Variant) -> datetime | None:
    return to_datetime(message.create_time) if message.HasField("create_time") else None


def _updated(message: pb.Product | pb.Variant) -> datetime | None:
    return to_datetime(message.update_time) if message.HasField("update_time") else None


def _image(image: pb.Image) -> dict[str, object]:
    return {
        "id": image.id,
        "url": image.url,
        "alt_text": image.alt_text,
        "width": image.width,
        "height": image.height,
    }


def _json(value: Sequence[object]) -> str:
    return msgspec.json.encode(value).decode()


def _drop_nul(message: Message) -> None:
    """Remove NUL from all texts of a message and of its submessages."""
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for part in value if field.is_repeated else [value]:
                _drop_nul(part)
        elif field.type == FieldDescriptor.TYPE_STRING and field.is_repeated:
            value[:] = [text.replace("\0", "") for text in value]
        elif field.type == FieldDescriptor.TYPE_STRING and "\0" in value:
            setattr(message, field.name, value.replace("\0", ""))
