"""Products and variants as the JSON of the V3 API: money and weights are JSON numbers without trailing zeros."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from devstore.bigcommerce.inventory import location_share
from devstore.catalog.model import Image, Product, Variant
from devstore.catalog.sample_data import VENDORS
from devstore.catalog.sellable_item import json_digits

Json = dict[str, Any]


def product_json(product: Product, locations: int) -> Json:
    """Return a product without the parts of `include`. Stock is the first location's share of `locations`."""
    return {
        "id": product.id,
        "name": product.title,
        "type": "physical",
        "sku": product.sku if product.options else first(product).sku,
        "description": product.description,
        "weight": json_number(first(product).weight) or 0,
        "price": _product_price(product),
        "cost_price": 0,
        "retail_price": 0,
        "sale_price": 0,
        "map_price": 0,
        "calculated_price": json_number(first(product).price),
        "categories": [23],
        "brand_id": brand_id(product.vendor),
        "inventory_level": _inventory_level(product, locations),
        "inventory_warning_level": 0,
        "inventory_tracking": tracking(product),
        "is_visible": product.status != "DRAFT",
        "availability": "disabled" if product.status == "ARCHIVED" else "available",
        "upc": "",
        "gtin": "",
        "mpn": "",
        "date_created": format_datetime(product.created),
        "date_modified": format_datetime(product.updated),
        "base_variant_id": None if product.options else first(product).id,
        "custom_url": {"url": f"/{product.handle}/", "is_customized": False},
    }


def variant_json(product: Product, variant: Variant, site: str, locations: int) -> Json:
    """Return a variant. It has no dates, and no price when that is the product's price.

    Stock is the share of the first of `locations` locations.
    """
    regular_price = json_number(variant.compare_at or variant.price)
    inherits_price = regular_price == _product_price(product)
    shares_stock = tracking(product) == "product"
    return {
        "id": variant.id,
        "product_id": product.id,
        "sku": variant.sku,
        "sku_id": variant.id if product.options else None,
        "price": None if inherits_price else regular_price,
        "calculated_price": json_number(variant.price),
        "sale_price": json_number(variant.price) if variant.compare_at else None,
        "retail_price": None,
        "map_price": None,
        "weight": json_number(variant.weight),
        "calculated_weight": json_number(variant.weight),
        "cost_price": None,
        "is_free_shipping": False,
        "purchasing_disabled": variant.status == "private",
        "purchasing_disabled_message": "",
        "image_url": _variant_image_url(product, variant, site),
        "upc": variant.barcode,
        "gtin": "",
        "mpn": "",
        "inventory_level": _inventory_level(product, locations)
        if shares_stock
        else location_share(variant.stock or 0, locations, 0),
        "inventory_warning_level": 0,
        "bin_picking_number": "",
        "option_values": [
            {"id": _stable_id(value), "label": value, "option_id": position + 1, "option_display_name": name}
            for position, (name, value) in enumerate(variant.options)
        ],
    }


def image_json(product: Product, image: Image, position: int, site: str) -> Json:
    """Return an image. The last one is the thumbnail, so that no reader can rely on the order."""
    url = _image_url(image, site)
    return {
        "id": image.id,
        "product_id": product.id,
        "is_thumbnail": position == len(product.images) - 1,
        "sort_order": position,
        "description": image.alt,
        "image_file": f"p/{image.id}.png",
        "url_zoom": url,
        "url_standard": url,
        "url_thumbnail": url,
        "url_tiny": url,
        "date_modified": format_datetime(image.changed),
    }


def _image_url(image: Image, site: str) -> str:
    """Return the URL, which contains the time of `date_modified` as on the platform."""
    return f"{site}/images/{image.id}.{image.changed_seconds}.1280.1280.png?c=1"


def _variant_image_url(product: Product, variant: Variant, site: str) -> str:
    own = (image for image in product.images if image.id == variant.image_id)
    return next((_image_url(image, site) for image in own), "")


def option_json(product: Product, position: int) -> Json:
    """Return an option with all its values."""
    name, values = product.options[position]
    return {
        "id": position + 1,
        "product_id": product.id,
        "display_name": name,
        "type": "rectangles",
        "sort_order": position,
        "option_values": [
            {"id": _stable_id(value), "label": value, "sort_order": order} for order, value in enumerate(values)
        ],
    }


def brands() -> list[Json]:
    """Return all brands."""
    return [{"id": brand_id(name), "name": name} for name in VENDORS]


def brand_id(vendor: str) -> int:
    """Return the id of a vendor's brand; 0 when there is none."""
    return VENDORS.index(vendor) + 1 if vendor in VENDORS else 0


def tracking(product: Product) -> str:
    """Return the product's inventory_tracking. A product without options tracks the stock of its base variant."""
    if all(variant.stock is None and not variant.shares_stock for variant in product.variants):
        return "none"
    # Either all variants share the product's stock or none does.
    return "product" if first(product).shares_stock or not product.options else "variant"


def first(product: Product) -> Variant:
    """Return the variant whose price, weight and SKU the product shows."""
    return product.variants[0]


def json_number(text: str) -> msgspec.Raw | None:
    """Return a JSON number with exactly the digits of a stored decimal; None for ""."""
    return msgspec.Raw(json_digits(text).encode()) if text else None


def format_datetime(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%S+00:00")


def _stable_id(value: str) -> int:
    """Return an id that is the same for the same text in every run."""
    return sum(position * ord(letter) for position, letter in enumerate(value, 1))


def _product_price(product: Product) -> msgspec.Raw | None:
    return json_number(first(product).compare_at or first(product).price)


def _inventory_level(product: Product, locations: int) -> int:
    if tracking(product) == "product":
        stock = product.stock if first(product).shares_stock else first(product).stock
        return location_share(stock or 0, locations, 0)
    return sum(location_share(variant.stock or 0, locations, 0) for variant in product.variants)
