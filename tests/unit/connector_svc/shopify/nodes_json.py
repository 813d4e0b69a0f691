"""Product, variant and media nodes in the format of the Admin API."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def variant_node(number: int, **changes: Any) -> Json:
    """Return a valid variant."""
    node: Json = {
        "id": f"gid://shopify/ProductVariant/{number}",
        "title": f"Size {number}",
        "sku": f"{number:08d}",
        "barcode": None,
        "price": "7.30",
        "compareAtPrice": None,
        "inventoryQuantity": 5,
        "inventoryPolicy": "DENY",
        "availableForSale": True,
        "position": 1,
        "createdAt": "2026-01-01T00:00:00Z",
        "updatedAt": "2026-02-01T00:00:00Z",
        "selectedOptions": [{"name": "Size", "value": f"Size {number}"}],
        "media": {"nodes": []},
        "inventoryItem": {"tracked": True, "measurement": {"weight": {"value": 0.5, "unit": "KILOGRAMS"}}},
    }
    return node | changes


def product_node(number: int, variants: int = 1, **changes: Any) -> Json:
    """Return a valid product, whose variant ids start at its own id times 10,000."""
    nodes = [variant_node(number * 10_000 + n, position=n + 1) for n in range(variants)]
    node: Json = {
        "id": f"gid://shopify/Product/{number}",
        "title": f"Product {number}",
        "handle": f"product-{number}",
        "descriptionHtml": "<p>Good.</p>",
        "vendor": "Maker",
        "productType": "Thing",
        "tags": ["a", "b"],
        "status": "ACTIVE",
        "onlineStoreUrl": None,
        "createdAt": "2026-01-01T00:00:00Z",
        "updatedAt": "2026-02-01T00:00:00Z",
        "options": [{"name": "Size", "values": ["Size 1"]}],
        "variantsCount": {"count": variants, "precision": "EXACT"},
        "media": {"nodes": [], "pageInfo": {"hasNextPage": False}},
        "variants": {"nodes": nodes, "pageInfo": {"hasNextPage": False}},
    }
    return node | changes


def image_node(number: int, **changes: Any) -> Json:
    """Return an image that Shopify has processed."""
    image = {"url": f"https://cdn.example/{number}.png", "width": 64, "height": 32}
    return {"id": f"gid://shopify/MediaImage/{number}", "alt": "front", "image": image} | changes
