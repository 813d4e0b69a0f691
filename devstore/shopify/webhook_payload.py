"""The payload of product webhooks: the product as the REST Admin API wrote it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from devstore.catalog.model import Image, Product, Variant
from devstore.catalog.pictures import SIDE_PIXELS
from devstore.shopify.scalars import format_datetime, gid, image_url

MAX_VARIANTS = 100
"""Further variants are left out of a payload."""
_GRAMS = {"KILOGRAMS": 1000, "GRAMS": 1, "POUNDS": 453.59237, "OUNCES": 28.349523}


def product_payload(product: Product, *, site: str) -> dict[str, Any]:
    """Return all fields of a product."""
    images = [_image(product, image, position, site) for position, image in enumerate(product.images, 1)]
    variants = [
        _variant(product, variant, position) for position, variant in enumerate(product.variants[:MAX_VARIANTS], 1)
    ]
    return {
        "admin_graphql_api_id": gid("Product", product.id),
        "body_html": product.description,
        "created_at": format_datetime(product.created),
        "handle": product.handle,
        "id": product.id,
        "product_type": product.product_type,
        "published_at": format_datetime(product.created) if product.status == "ACTIVE" else None,
        "template_suffix": None,
        "title": product.title,
        "updated_at": format_datetime(product.updated),
        "vendor": product.vendor,
        "status": product.status.lower(),
        "published_scope": "web",
        "tags": ", ".join(product.tags),
        "variants": variants,
        "options": [
            {
                "name": name,
                "id": product.id + position,
                "product_id": product.id,
                "position": position,
                "values": list(values),
            }
            for position, (name, values) in enumerate(product.options, 1)
        ],
        "images": images,
        "image": images[0] if images else None,
        "media": [],
        "variant_gids": [
            {
                "admin_graphql_api_id": gid("ProductVariant", variant.id),
                "updated_at": format_datetime(variant.updated),
            }
            for variant in product.variants
        ],
    }


def select_fields(payload: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return only the fields that `includeFields` names: "id", or "variants.id" of nested objects; all if none."""
    if not names:
        return payload
    found: dict[str, Any] = {}
    for name in names:
        head, dot, rest = name.partition(".")
        if head not in payload:
            continue
        value = payload[head]
        if dot and isinstance(value, list):
            before = found.get(head) or [{} for _ in value]
            value = [old | select_fields(one, [rest]) for old, one in zip(before, value, strict=True)]
        found[head] = value
    return found


def _variant(product: Product, variant: Variant, position: int) -> dict[str, Any]:
    chosen = [value for _, value in variant.options] + [None, None, None]
    return {
        "admin_graphql_api_id": gid("ProductVariant", variant.id),
        "barcode": variant.barcode or None,
        "compare_at_price": variant.compare_at or None,
        "created_at": format_datetime(variant.created),
        "id": variant.id,
        "inventory_policy": "continue" if variant.oversell else "deny",
        "position": position,
        "price": variant.price or "0.00",
        "product_id": product.id,
        "sku": variant.sku or None,
        "taxable": True,
        "title": variant.title,
        "updated_at": format_datetime(variant.updated),
        "option1": chosen[0],
        "option2": chosen[1],
        "option3": chosen[2],
        "image_id": variant.image_id,
        "inventory_item_id": variant.id,
        "inventory_quantity": variant.stock or 0,
        "old_inventory_quantity": variant.stock or 0,
    }


def _image(product: Product, image: Image, position: int, site: str) -> dict[str, Any]:
    return {
        "id": image.id,
        "alt": image.alt or None,
        "position": position,
        "product_id": product.id,
        "created_at": format_datetime(product.created),
        "updated_at": format_datetime(image.changed),
        "admin_graphql_api_id": gid("ProductImage", image.id),
        "width": SIDE_PIXELS,
        "height": SIDE_PIXELS,
        "src": image_url(site, image),
        "variant_ids": [variant.id for variant in product.variants if variant.image_id == image.id],
    }
