"""The Inventory API's view of products: stock per location.

The first location is the default one; the catalog API shows only its stock. The stock of a product or a variant
in the devstore's catalog is what all enabled locations together can sell. A disabled location has some stock that
cannot be bought.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from devstore.catalog.model import Offer, Product, Variant

Json = dict[str, Any]

SAFETY_STOCK = 2
"""The safety stock of every location but the default one."""
BACKORDER_LIMIT = 25
"""How many may be sold beyond the stock of the default location, where backorders are on."""
_DISABLED_LOCATION_STOCK = 5


def location_share(stock: int, locations: int, index: int) -> int:
    """Return the part of `stock` that location `index` (from 0) sells.

    The parts are as equal as possible; the first ones have one more. Negative stock is all at the default one.
    """
    if stock <= 0:
        return stock if index == 0 else 0
    each, rest = divmod(stock, locations)
    return each + (index < rest)


def items(product: Product, tracked: str, *, locations: int, backorders: bool) -> Iterator[Json]:
    """Yield the inventory items of one product: its variants, the product itself, or none.

    Args:
        product: The product.
        tracked: The product's inventory_tracking: "variant", "product" or "none".
        locations: The number of enabled locations.
        backorders: Whether the store takes backorders.
    """
    if tracked == "variant" or (tracked == "product" and not product.options):
        for variant in product.variants:
            counted = product if variant.shares_stock else variant
            yield _item(product, variant, counted, locations=locations, backorders=backorders)
    elif tracked == "product":
        yield _item(product, None, product, locations=locations, backorders=backorders)


def _item(product: Product, variant: Variant | None, counted: Offer, *, locations: int, backorders: bool) -> Json:
    identity: Json = {"sku": variant.sku if variant else product.sku, "product_id": product.id}
    if variant is not None:
        identity |= {"variant_id": variant.id, "sku_id": variant.id if product.options else None}
    enabled = [_location(counted, index, locations, backorders=backorders) for index in range(locations)]
    return {"identity": identity, "locations": [*enabled, _disabled_location(locations)]}


def _location(counted: Offer, index: int, locations: int, *, backorders: bool) -> Json:
    sellable = location_share(counted.stock or 0, locations, index)
    safety_stock = SAFETY_STOCK if index else 0
    limit = BACKORDER_LIMIT if counted.oversell and not index else 0
    settings: Json = _settings(safety_stock)
    if backorders:
        settings["backorder_limit"] = limit
    return {
        "location_id": index + 1,
        "location_code": f"BC-LOCATION-{index + 1}",
        "location_name": "Default location" if not index else f"Warehouse {index}",
        "location_enabled": True,
        "available_to_sell": sellable + limit if backorders else sellable,
        "total_inventory_onhand": sellable + safety_stock,
        "settings": settings,
    }


def _disabled_location(locations: int) -> Json:
    return {
        "location_id": locations + 1,
        "location_code": f"BC-LOCATION-{locations + 1}",
        "location_name": "Closed outlet",
        "location_enabled": False,
        "available_to_sell": _DISABLED_LOCATION_STOCK,
        "total_inventory_onhand": _DISABLED_LOCATION_STOCK,
        "settings": _settings(0),
    }


def _settings(safety_stock: int) -> Json:
    return {"safety_stock": safety_stock, "is_in_stock": True, "warning_level": 0, "bin_picking_number": ""}
