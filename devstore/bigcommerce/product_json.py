"""Products and variants as the V3 API shows them: money and weights are JSON numbers, without trailing zeros."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from devstore.bigcommerce.inventory import share
from devstore.catalog.model import Image, Product, Variant
from devstore.catalog.sample_data import MAKERS
from devstore.catalog.sellable_item import json_digits

Json = dict[str, Any]


def product_json(product: Product, locations: int) -> Json:
    """Without the parts that `include` asks for; stock is that of the first of `locations`."""
    return {
        "id": product.id,
        "name": product.title,
        "type": "physical",
        "sku": product.sku if product.options else first(product).sku,
        "description": product.description,
        "weight": number(first(product).weight) or 0,
        "price": _product_price(product),
        "cost_price": 0,
        "retail_price": 0,
        "sale_price": 0,
        "map_price": 0,
        "calculated_price": number(first(product).price),
        "categories": [23],
        "brand_id": brand_id(product.vendor),
        "inventory_level": _level(product, locations),
        "inventory_warning_level": 0,
        "inventory_tracking": tracking(product),
        "is_visible": product.status != "DRAFT",
        "availability": "disabled" if product.status == "ARCHIVED" else "available",
        "upc": "",
        "gtin": "",
        "mpn": "",
        "date_created": moment(product.created),
        "date_modified": moment(product.updated),
        "base_variant_id": None if product.options else first(product).id,
        "custom_url": {"url": f"/{product.handle}/", "is_customized": False},
    }


def variant_json(product: Product, variant: Variant, site: str, locations: int) -> Json:
    """A variant whose price is its product's shows none of its own. It has no date.

    Its stock is that of the first of `locations`.
    """
    regular = number(variant.compare_at or variant.price)
    inherits = regular == _product_price(product)
    shares = tracking(product) == "product"
    return {
        "id": variant.id,
        "product_id": product.id,
        "sku": variant.sku,
        "sku_id": variant.id if product.options else None,
        "price": None if inherits else regular,
        "calculated_price": number(variant.price),
        "sale_price": number(variant.price) if variant.compare_at else None,
        "retail_price": None,
        "map_price": None,
        "weight": number(variant.weight),
        "calculated_weight": number(variant.weight),
        "cost_price": None,
        "is_free_shipping": False,
        "purchasing_disabled": variant.status == "private",
        "purchasing_disabled_message": "",
        "image_url": f"{site}/images/{variant.image_id}.png" if variant.image_id else "",
        "upc": variant.barcode,
        "gtin": "",
        "mpn": "",
        "inventory_level": _level(product, locations) if shares else share(variant.stock or 0, locations, 0),
        "inventory_warning_level": 0,
        "bin_picking_number": "",
        "option_values": [
            {"id": number_of(value), "label": value, "option_id": place + 1, "option_display_name": name}
            for place, (name, value) in enumerate(variant.options)
        ],
    }


def image_json(product: Product, image: Image, place: int, site: str) -> Json:
    """The last one stands for the product, so that no reader relies on the order."""
    url = f"{site}/images/{image.id}.png"
    return {
        "id": image.id,
        "product_id": product.id,
        "is_thumbnail": place == len(product.images) - 1,
        "sort_order": place,
        "description": image.alt,
        "image_file": f"p/{image.id}.png",
        "url_zoom": url,
        "url_standard": url,
        "url_thumbnail": url,
        "url_tiny": url,
        "date_modified": moment(product.created),
    }


def option_json(product: Product, place: int) -> Json:
    """An option with all its values."""
    name, values = product.options[place]
    return {
        "id": place + 1,
        "product_id": product.id,
        "display_name": name,
        "type": "rectangles",
        "sort_order": place,
        "option_values": [
            {"id": number_of(value), "label": value, "sort_order": order} for order, value in enumerate(values)
        ],
    }


def brands() -> list[Json]:
    """All of them."""
    return [{"id": brand_id(name), "name": name} for name in MAKERS]


def brand_id(vendor: str) -> int:
    """0: none."""
    return MAKERS.index(vendor) + 1 if vendor in MAKERS else 0


def tracking(product: Product) -> str:
    """Where stock is counted; a product without options counts for its base variant."""
    if all(variant.stock is None and not variant.shares_stock for variant in product.variants):
        return "none"
    # All of its variants share the product's stock, or none.
    return "product" if first(product).shares_stock or not product.options else "variant"


def first(product: Product) -> Variant:
    """Whose values stand for the product."""
    return product.variants[0]


def number(text: str) -> msgspec.Raw | None:
    """A JSON number of exactly these digits; None for no text."""
    return msgspec.Raw(json_digits(text).encode()) if text else None


def moment(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%S+00:00")


def number_of(value: str) -> int:
    """The same for the same text, in every run."""
    return sum(place * ord(letter) for place, letter in enumerate(value, 1))


def _product_price(product: Product) -> msgspec.Raw | None:
    return number(first(product).compare_at or first(product).price)


def _level(product: Product, locations: int) -> int:
    if tracking(product) == "product":
        return share((product.stock if first(product).shares_stock else first(product).stock) or 0, locations, 0)
    return sum(share(variant.stock or 0, locations, 0) for variant in product.variants)
