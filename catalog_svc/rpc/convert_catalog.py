"""Converts items and products to messages of CatalogService."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.types.v1 import product_pb2
from catalogsync_common.timestamps import fill_time, to_timestamp

from catalog_svc.domain.catalog_reads import Item, Product
from catalog_svc.rpc import convert_analysis

# Names without prefix, as they are stored. A name that a newer release has stored becomes UNSPECIFIED.
_PRODUCT_STATUSES: Final = {
    name.removeprefix("PRODUCT_STATUS_"): status for name, status in product_pb2.ProductStatus.items()
}


def item(value: Item) -> pb.Item:
    """Convert an item with the fields of its product.

    Messages within it are filled in place: to create them first would copy each of them.
    """
    message = pb.Item(
        item_id=value.item_id,
        product_id=value.product_id,
        position=value.position,
        title=value.title,
        product_title=value.product_title,
        sku=value.sku,
        barcode=value.barcode,
        stock_quantity=value.stock_quantity,
        available=value.available,
        sellable_without_stock=value.sellable_without_stock,
        image_url=value.image_url,
        weight=format(value.weight, "f") if value.weight is not None else "",
        weight_unit=value.weight_unit,
        product_status=_status(value.product_status),
        product_url=value.product_url,
        vendor=value.vendor,
        product_type=value.product_type,
        feed_position=value.feed_position,
        analysis=convert_analysis.of_item(value.analysis) if value.analysis else None,
    )
    if value.price is not None:
        _set_money(message.price, value.price, value.currency_code)
    if value.compare_at_price is not None:
        _set_money(message.compare_at_price, value.compare_at_price, value.currency_code)
    for name, option in value.options:
        message.options.add(name=name, value=option)
    fill_time(message.create_time, value.created_at)
    fill_time(message.update_time, value.updated_at)
    if value.source_updated_at is not None:
        fill_time(message.source_update_time, value.source_updated_at)
    if value.deleted_at is not None:
        fill_time(message.delete_time, value.deleted_at)
    return message


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


def _set_money(message: product_pb2.Money, amount: Decimal, currency_code: str) -> None:
    message.amount = format(amount, "f")
    message.currency_code = currency_code


def _status(stored: str) -> product_pb2.ProductStatus.ValueType:
    return _PRODUCT_STATUSES.get(stored, product_pb2.PRODUCT_STATUS_UNSPECIFIED)
