"""Sample records of the V3 catalog API, as its reference shows them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from connector_svc.domain.shop import ShopInfo
from connector_svc.platforms.bigcommerce.parse import ParsedRecord, ProductParser
from connector_svc.platforms.bigcommerce.record_salvage import decode_products
from connector_svc.platforms.bigcommerce.shop_info import StoreInfo

STORE = StoreInfo(
    shop_info=ShopInfo(currency_code="USD"),
    storefront_url="https://shop.example",
    weight_unit="kg",
    weight_factor=Decimal(1),
)
PARSER = ProductParser(STORE)


def variant_row(number: int = 382, product_id: int = 192, **changes: Any) -> dict[str, Any]:
    return {
        "id": number,
        "product_id": product_id,
        "sku": f"SMIT-{number}",
        "price": None,
        "calculated_price": 8.5,
        "purchasing_disabled": False,
        "image_url": "https://cdn.example/v.png",
        "upc": "0012345678905",
        "gtin": "",
        "weight": 2.25,
        "inventory_level": 4,
        "option_values": [{"id": 174, "label": "Beige", "option_id": 220, "option_display_name": "Color"}],
    } | changes


def product_row(number: int = 192, **changes: Any) -> dict[str, Any]:
    return {
        "id": number,
        "name": "Smith Journal",
        "type": "physical",
        "description": "<p>Paper</p>",
        "weight": 2,
        "price": 10,
        "calculated_price": 8.5,
        "brand_id": 37,
        "inventory_level": 4,
        "inventory_tracking": "variant",
        "is_visible": True,
        "availability": "available",
        "base_variant_id": None,
        "upc": "",
        "gtin": "",
        "custom_url": {"url": "/smith-journal/", "is_customized": False},
        "date_created": "2018-08-15T14:48:46+00:00",
        "date_modified": "2018-09-05T20:42:07+00:00",
        "images": [
            {"id": 2, "url_zoom": "https://cdn.example/2.png", "is_thumbnail": False, "sort_order": 0},
            {"id": 1, "url_zoom": "https://cdn.example/1.png", "is_thumbnail": True, "sort_order": 1},
        ],
        "variants": [variant_row(product_id=number)],
    } | changes


def listed(*rows: Any) -> bytes:
    """Return a page of `rows`."""
    return msgspec.json.encode({"data": rows, "meta": {"pagination": {"total": len(rows)}}})


def parsed(text: bytes) -> ParsedRecord:
    """Parse the only record of a page."""
    (record,) = decode_products(text).items
    return PARSER.parse(record)
