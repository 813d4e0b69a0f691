"""Products of the catalog as lines of the feed."""

from __future__ import annotations

from typing import Any

from devstore.catalog.catalog import Catalog
from devstore.catalog.item import shown_stock
from devstore.catalog.model import Product, Variant

_UNITS = {"KILOGRAMS": "kg", "GRAMS": "g", "OUNCES": "oz", "POUNDS": "lb"}
Json = dict[str, Any]


def product_line(catalog: Catalog, product: Product, site: str) -> Json:
    """One line, with all variants."""
    return {
        "id": str(product.id),
        "title": product.title,
        "handle": product.handle,
        "description_html": product.description,
        "vendor": product.vendor,
        "product_type": product.product_type,
        "tags": list(product.tags),
        "status": product.status.lower(),
        "url": f"https://{catalog.spec.domain}/products/{product.handle}",
        "images": [{"url": _url(site, i.id), "id": str(i.id), "alt_text": i.alt} for i in product.images],
        "created_at": product.created.isoformat(),
        "updated_at": product.updated.isoformat(),
        "variants": [_variant(product, one, site) for one in product.variants],
    }


def tombstone(product_id: int) -> Json:
    """The line of a product that is gone."""
    return {"id": str(product_id), "deleted": True}


def _variant(product: Product, sold: Variant, site: str) -> Json:
    line: Json = {
        "id": str(sold.id),
        "sku": sold.sku,
        "barcode": sold.barcode,
        "price": sold.price or None,
        "compare_at_price": sold.compare_at or None,
        "stock_quantity": shown_stock(product, sold),
        "inventory_policy": "continue" if sold.oversell else "deny",
        "created_at": sold.created.isoformat(),
        "updated_at": sold.updated.isoformat(),
    }
    if sold.weight:
        line |= {"weight": sold.weight, "weight_unit": _UNITS[sold.weight_unit]}
    line |= {"title": sold.title, "options": [{"name": n, "value": v} for n, v in sold.options]}
    if sold.image_id is not None:
        line["image"] = {"url": _url(site, sold.image_id), "id": str(sold.image_id)}
    return line


def _url(site: str, image_id: int) -> str:
    return f"{site}/images/{image_id}.png"
