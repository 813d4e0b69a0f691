"""Fields of ProductVariant and InventoryItem; the source of both is the pair (product, variant)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from devstore.catalog.model import Image, Product, Variant
from devstore.shopify.call import Call, Info
from devstore.shopify.gid import gid
from devstore.shopify.paging import Connection
from devstore.shopify.resolve_product import image_object, images_page
from devstore.shopify.time import to_text

Sold = tuple[Product, Variant]


def _own_image(sold: Sold) -> tuple[Image, ...]:
    product, variant = sold
    return tuple(image for image in product.images if image.id == variant.image_id)


def _media(sold: Sold, info: Info, **args: Any) -> Connection:
    return images_page(_own_image(sold), args)


def _image(sold: Sold, info: Info, **_: Any) -> dict[str, Any] | None:
    own = _own_image(sold)
    return image_object(own[0], info) if own else None


def _selected(sold: Sold, info: Info) -> list[dict[str, Any]]:
    return [{"name": name, "value": value} for name, value in sold[1].options]


def _display_name(sold: Sold, info: Info) -> str:
    return f"{sold[0].title} - {sold[1].title}"


def _position(sold: Sold, info: Info) -> int:
    # Whole variants are compared field by field, six hundred times for a large product.
    return [variant.id for variant in sold[0].variants].index(sold[1].id) + 1


def _available(sold: Sold, info: Info) -> bool:
    return sold[1].oversell or sold[1].stock is None or sold[1].stock > 0


def _measurement(sold: Sold, info: Info) -> dict[str, Any]:
    variant = sold[1]
    # The schema says Float; nothing is calculated with it.
    weight = {"value": float(variant.weight or 0), "unit": variant.weight_unit}
    return {"id": gid("InventoryItemMeasurement", variant.id), "weight": weight}


def _inventory_item(sold: Sold, info: Info) -> Sold:
    call: Call = info.context
    has_products = {"read_products", "write_products"} & set(call.quirks.scopes)
    if call.quirks.inventory_has_own_scope or not has_products:
        call.require("inventory", "inventoryItem")
    return sold


VARIANT: Mapping[str, Callable[..., Any]] = {
    "id": lambda sold, info: gid("ProductVariant", sold[1].id),
    "legacyResourceId": lambda sold, info: str(sold[1].id),
    "product": lambda sold, info: sold[0],
    "title": lambda sold, info: sold[1].title,
    "displayName": _display_name,
    "position": _position,
    "sku": lambda sold, info: sold[1].sku or None,
    "barcode": lambda sold, info: sold[1].barcode or None,
    "price": lambda sold, info: sold[1].price or "0.00",
    "compareAtPrice": lambda sold, info: sold[1].compare_at or None,
    "inventoryQuantity": lambda sold, info: sold[1].stock or 0,
    "sellableOnlineQuantity": lambda sold, info: sold[1].stock or 0,
    "inventoryPolicy": lambda sold, info: "CONTINUE" if sold[1].oversell else "DENY",
    "availableForSale": _available,
    "taxable": lambda sold, info: True,
    "selectedOptions": _selected,
    "inventoryItem": _inventory_item,
    "media": _media,
    "image": _image,
    "createdAt": lambda sold, info: to_text(sold[1].created),
    "updatedAt": lambda sold, info: to_text(sold[1].updated),
}

INVENTORY_ITEM: Mapping[str, Callable[..., Any]] = {
    "id": lambda sold, info: gid("InventoryItem", sold[1].id),
    "legacyResourceId": lambda sold, info: str(sold[1].id),
    "sku": lambda sold, info: sold[1].sku or None,
    "tracked": lambda sold, info: sold[1].stock is not None,
    "requiresShipping": lambda sold, info: True,
    "measurement": _measurement,
    "unitCost": lambda sold, info: None,
    "createdAt": lambda sold, info: to_text(sold[1].created),
    "updatedAt": lambda sold, info: to_text(sold[1].updated),
}
