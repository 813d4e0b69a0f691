"""Products of the connector as the rows that they will be.

The hot path of a first load, about 4 µs a variant, most of it reaching into messages: scalars are read once, times
and options, which are messages themselves, as seldom as may be.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

import msgspec
from catalogsync.connector.v1 import connector_service_pb2 as pb
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from catalog_svc.domain.records import ItemRecord, ProductRecord, RecordIssue, RecordRejected

_PLAIN_NUMBER = re.compile(r"(?:0|[1-9][0-9]{0,29})(?:\.[0-9]{1,30})?")
_MAX_NUMBER_CHARACTERS = 60

_STATUS = {
    number: name.removeprefix("STATUS_").replace("UNSPECIFIED", "") for name, number in pb.Product.Status.items()
}
_CONTINUE = pb.Variant.INVENTORY_POLICY_CONTINUE


def unpack(
    product: pb.Product, *, currency_code: str, content_hash: bytes, zero_bytes: int
) -> tuple[ProductRecord, list[ItemRecord]]:
    """The rows of a product and its variants, without NUL, which PostgreSQL's text cannot hold.

    `zero_bytes` is how many the encoded product has: one stands for each stock of 0, any other may be a NUL.
    Raises RecordRejected for a number or a time that cannot be stored.
    """
    try:
        return _unpacked(product, currency_code, content_hash, zero_bytes)
    except (ValueError, OverflowError, OSError) as error:
        # The connector lets no such value through; a connector of another release may.
        raise RecordRejected(_rejection(product)) from error


def exact(text: str) -> str | None:
    """The number as PostgreSQL would write it, digit for digit; None when there is none.

    Raises ValueError for what is no finite decimal number of a sensible length.
    """
    if not text:
        return None
    return text if _PLAIN_NUMBER.fullmatch(text) else _normalized(text)


def time(stamp: Timestamp) -> datetime:
    """UTC, to the microsecond. Raises ValueError, OverflowError or OSError for a year that is none."""
    moment = datetime.fromtimestamp(stamp.seconds, UTC)
    nanos = stamp.nanos
    return moment.replace(microsecond=nanos // 1000) if nanos else moment


def _unpacked(
    product: pb.Product, currency_code: str, content_hash: bytes, zero_bytes: int
) -> tuple[ProductRecord, list[ItemRecord]]:
    items = _items(product, currency_code)
    if zero_bytes > sum(item.stock_quantity == 0 for item in items):
        _drop_nul(product)
        items = _items(product, currency_code)
    return _record(product, content_hash), items


def _normalized(text: str) -> str:
    """What has a sign, an exponent or needless zeros. Decimal takes "1_0", "NaN" and "Infinity", too."""
    try:
        value = Decimal(text) if text.isascii() and "_" not in text else Decimal("NaN")
    except InvalidOperation:
        value = Decimal("NaN")
    if (
        not value.is_finite()
        or len(text) > _MAX_NUMBER_CHARACTERS
        or abs(value.adjusted()) > _MAX_NUMBER_CHARACTERS
    ):
        raise ValueError(f"{text[:_MAX_NUMBER_CHARACTERS]!r} is no exact decimal number")
    return format(value or value.copy_abs(), "f")


def _rejection(product: pb.Product) -> RecordIssue:
    """What in the product cannot be stored; looked for only after it was not."""
    for variant in product.variants:
        for field in ("price", "compare_at_price", "weight"):
            text = getattr(variant, field)
            try:
                exact(text)
            except ValueError:
                reason = "INVALID_FIELD" if field == "weight" else "INVALID_PRICE"
                return _issue(product, reason, field, "is no exact decimal number", text, item_id=variant.id)
    return _issue(product, "INVALID_FIELD", "update_time", "a time is out of range", "")


def _issue(
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
    fallback_image = product.images[0].url if product.images else ""
    return [_item(variant, product_id, currency_code, fallback_image) for variant in product.variants]


def _item(variant: pb.Variant, product_id: str, currency_code: str, fallback_image: str) -> ItemRecord:
    stock = variant.stock_quantity
    # By position: with eighteen names the call would cost three times as much.
    return ItemRecord(
        variant.id,
        product_id,
        variant.position,
        variant.title,
        variant.sku,
        variant.barcode,
        currency_code,
        exact(variant.price),
        exact(variant.compare_at_price),
        stock if stock or variant.HasField("stock_quantity") else None,
        variant.available,
        variant.inventory_policy == _CONTINUE,
        _json([[option.name, option.value] for option in variant.options]),
        variant.image.url or fallback_image,
        exact(variant.weight),
        variant.weight_unit,
        _created(variant),
        _updated(variant),
    )


def _created(message: pb.Product | pb.Variant) -> datetime | None:
    return time(message.create_time) if message.HasField("create_time") else None


def _updated(message: pb.Product | pb.Variant) -> datetime | None:
    return time(message.update_time) if message.HasField("update_time") else None


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
    """Takes NUL out of all texts of a message and of those within."""
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for part in value if field.is_repeated else [value]:
                _drop_nul(part)
        elif field.type == FieldDescriptor.TYPE_STRING and field.is_repeated:
            value[:] = [text.replace("\0", "") for text in value]
        elif field.type == FieldDescriptor.TYPE_STRING and "\0" in value:
            setattr(message, field.name, value.replace("\0", ""))
