"""Where stock lies: the Inventory API's view of products, location by location.

The first location is the default one, whose stock alone the catalog API shows. The stock of a product or a variant
in the devstore's own catalog is what can be sold at all enabled locations together. A disabled location holds some
pieces that nobody can buy.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from devstore.catalog.model import Offer, Product, Variant

Json = dict[str, Any]

SAFETY_STOCK = 2
"""Pieces that every location but the default one holds back."""
BACKORDER_LIMIT = 25
"""How many may be sold beyond the stock of the default location, where backorders are on."""
_CLOSED_PIECES = 5


def share(stock: int, locations: int, place: int) -> int:
    """What location `place` (from 0) sells of `stock`: as even as can be, the first ones one more."""
    if stock <= 0:
        return stock if place == 0 else 0
    each, rest = divmod(stock, locations)
    return each + (place < rest)


def items(product: Product, tracked: str, *, locations: int, backorders: bool) -> Iterator[Json]:
    """The inventory items of one product: its variants, itself, or none, depending on where stock is counted."""
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
    places = [_location(counted, place, locations, backorders=backorders) for place in range(locations)]
    return {"identity": identity, "locations": [*places, _closed(locations)]}


def _location(counted: Offer, place: int, locations: int, *, backorders: bool) -> Json:
    sells = share(counted.stock or 0, locations, place)
    held_back = SAFETY_STOCK if place else 0
    limit = BACKORDER_LIMIT if counted.oversell and not place else 0
    settings: Json = _settings(held_back)
    if backorders:
        settings["backorder_limit"] = limit
    return {
        "location_id": place + 1,
        "location_code": f"BC-LOCATION-{place + 1}",
        "location_name": "Default location" if not place else f"Warehouse {place}",
        "location_enabled": True,
        "available_to_sell": sells + limit if backorders else sells,
        "total_inventory_onhand": sells + held_back,
        "settings": settings,
    }


def _closed(locations: int) -> Json:
    return {
        "location_id": locations + 1,
        "location_code": f"BC-LOCATION-{locations + 1}",
        "location_name": "Closed outlet",
        "location_enabled": False,
        "available_to_sell": _CLOSED_PIECES,
        "total_inventory_onhand": _CLOSED_PIECES,
        "settings": _settings(0),
    }


def _settings(held_back: int) -> Json:
    return {"safety_stock": held_back, "is_in_stock": True, "warning_level": 0, "bin_picking_number": ""}
