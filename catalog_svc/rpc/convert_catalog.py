"""Converts items and products to messages of CatalogService."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.types.v1 import product_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from catalog_svc.domain.catalog_reads import Item, Product
from catalog_svc.rpc import convert_analysis

# Names without prefix, as they are stored. A name that a newer release has stored becomes UNSPECIFIED.
_PRODUCT_STATUSES: Final = {
    name.removeprefix("PRODUCT_STATUS_"): status for name, status in product_pb2.ProductStatus.items()
}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def item(value: Item) -> pb.Item:
    """Convert an item with the fields of its product."""
    return pb.Item(
        item_id=value.item_id,
        product_id=value.product_id,
        position=value.position,
        title=value.title,
        product_title=value.product_title,
        sku=value.sku,
        barcode=value.barcode,
        price=_money(value.price, value.currency_code),
        compare_at_price=_money(value.compare_at_price, value.currency_code),
        stock_quantity=value.stock_quantity,
        available=value.available,
        sellable_without_stock=value.sellable_without_stock,
        options=[pb.ItemOption(name=name, value=option) for name, option in value.options],
        image_url=value.image_url,
        weight=format(value.weight, "f") if value.weight is not None else "",
        weight_unit=value.weight_unit,
        product_status=_status(value.product_status),
        product_url=value.product_url,
        vendor=value.vendor,
        product_type=value.product_type,
        feed_position=value.feed_position,
        source_update_time=to_timestamp(value.source_updated_at),
        create_time=to_timestamp(value.created_at),
        update_time=to_timestamp(value.updated_at),
        delete_time=to_timestamp(value.deleted_at),
        analysis=convert_analysis.of_item(value.analysis) if value.analysis else None,
    )


def product(value: Product) -> pb.Product:
    """Convert a product with its items."""
    return pb.Product(
        product_id=value.product_id,
        title=value.title,
        handle=value.handle,
        description_html=value.description_html,
        vendor=value.vendor,
        product_type=value.product_type,
        tags=value.tags,
        status=_status(value.status),
        url=value.url,
        options=[pb.ProductOption(name=name, values=values) for name, values in value.options],
        images=[
            pb.ProductImage(
                image_id=image["id"],
                url=image["url"],
                alt_text=image["alt_text"],
                width=image["width"],
                height=image["height"],
            )
            for image in value.images
        ],
        items=[item(its) for its in value.items],
        source_create_time=to_timestamp(value.source_created_at),
        source_update_time=to_timestamp(value.source_updated_at),
        create_time=to_timestamp(value.created_at),
        update_time=to_timestamp(value.updated_at),
        delete_time=to_timestamp(value.deleted_at),
    )


def to_timestamp(value: datetime | None) -> Timestamp | None:
    """Convert a time; None stays None."""
    if value is None:
        return None
    # Exactly; FromDatetime does the same at four times the cost.
    since = value - _EPOCH
    return Timestamp(seconds=since.days * 86_400 + since.seconds, nanos=since.microseconds * 1_000)


def _status(stored: str) -> product_pb2.ProductStatus.ValueType:
    return _PRODUCT_STATUSES.get(stored, product_pb2.PRODUCT_STATUS_UNSPECIFIED)


def _money(amount: Decimal | None, currency_code: str) -> product_pb2.Money | None:
    return None if amount is None else product_pb2.Money(amount=format(amount, "f"), currency_code=currency_code)
