"""Stock of products over all locations of a store, from the Inventory API.

The catalog API returns the stock of the default location alone. `/v3/inventory/items` returns every location of an
item, and an item is a variant, or a whole product where stock is counted by the product.
Reference: https://github.com/bigcommerce/docs, reference/inventory.v3.yml, schema ItemResponse.

Rules (docs/decisions/0027):
- The quantity is what can be sold from stock: on hand minus safety stock, summed over the enabled locations.
- `available_to_sell` may be higher than that: it includes what may be sold on backorder.
- The backorder limits (beta), where the store has any, say whether a variant may be sold beyond its stock: a limit
  above 0 is CONTINUE, limits of 0 at all enabled locations are DENY, anything else is UNSPECIFIED.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from connector_svc.domain.errors import SourceForbidden, SourceNotFound, SourceQueryRefused
from connector_svc.domain.product import InventoryPolicy
from connector_svc.domain.records import MALFORMED_ERRORS
from connector_svc.platforms.bigcommerce.client import INVENTORY_PATH, ResponseTooLarge, StoreClient
from connector_svc.platforms.bigcommerce.record_salvage import ItemStock, ListedProduct
from connector_svc.platforms.bigcommerce.wire import ItemRow, LocationRow, RawList, VariantRow

_MAX_PAGE_SIZE: Final = 1_000
"""The Inventory API's limit."""
_MAX_PRODUCTS_PER_CALL: Final = 250
_MAX_ATTEMPTS: Final = 2
"""For a list with fewer items than it counts."""
_LIST_DECODER: Final = msgspec.json.Decoder(RawList)
_ITEM_DECODER: Final = msgspec.json.Decoder(ItemRow)


class InventoryReader:
    """Reads the stock of products over all locations."""

    def __init__(self, client: StoreClient, *, is_readable: bool) -> None:
        """Create a reader; with `is_readable` False (the token lacks the scope) it sends no requests."""
        self._client = client
        self._is_readable = is_readable
        self._page_size = _MAX_PAGE_SIZE
        self._is_revoked = False

    async def add_stock(self, products: Sequence[ListedProduct]) -> None:
        """Set `stock` of each of `products` to its stock over all locations.

        Sets `has_default_stock` where the Inventory API is readable but returned no stock for the product.

        Raises:
            SourceFailure: The Inventory API cannot be read, for another reason than a revoked scope.
        """
        if not self._is_readable:
            return
        tracked = [one for one in products if one.row.inventory_tracking != "none"]
        for chunk in _request_chunks(tracked):
            found = await self._read_stock([one.row.id for one in chunk])
            for product in chunk:
                product.stock = found.get(product.row.id, {})
                product.has_default_stock = _is_default_stock(product)

    async def _read_stock(self, product_ids: list[int]) -> dict[int, dict[int | None, ItemStock]]:
        """Return stock by product and variant; empty once the scope was revoked during the pass."""
        found: dict[int, dict[int | None, ItemStock]] = {}
        if self._is_revoked:
            return found
        try:
            for _ in range(_MAX_ATTEMPTS):
                if await self._read_items(product_ids, found):
                    break
                await self._client.wait_before_retry()
        except (SourceForbidden, SourceNotFound):
            self._is_revoked = True
        return found

    async def _read_items(self, product_ids: list[int], found: dict[int, dict[int | None, ItemStock]]) -> bool:
        """Add the items of `product_ids` to `found`; return whether as many were returned as the store counts."""
        joined_ids, received, total, page = ",".join(map(str, product_ids)), 0, 1, 1
        while (page - 1) * self._page_size < total:
            params = (("product_id:in", joined_ids), ("limit", str(self._page_size)), ("page", str(page)))
            try:
                response = await self._client.get(
                    INVENTORY_PATH, params, _LIST_DECODER.decode, raise_too_large=True
                )
            except ResponseTooLarge as error:
                # A store with many locations. The smaller pages start over and return the same items again.
                if self._page_size == 1:
                    raise error.__cause__ or error from None
                self._page_size, received, total, page = max(self._page_size // 4, 1), 0, 1, 1
                continue
            listing = response.value
            for raw in listing.data:
                self._add_item(raw, product_ids, found)
            received, total, page = received + len(listing.data), listing.meta.pagination.total, page + 1
        return received >= total

    def _add_item(
        self, raw: msgspec.Raw, product_ids: list[int], found: dict[int, dict[int | None, ItemStock]]
    ) -> None:
        try:
            row = _ITEM_DECODER.decode(raw)
        except MALFORMED_ERRORS:
            # A malformed item counts as one without stock by location.
            return
        if row.identity.product_id not in product_ids:
            raise SourceQueryRefused(self._client.shop, "stock of other products was returned")
        stock_by_variant = found.setdefault(row.identity.product_id, {})
        stock_by_variant[row.identity.variant_id or None] = sum_locations(row.locations)


async def is_inventory_readable(client: StoreClient) -> bool:
    """Return whether the token may read the Inventory API. Raises SourceFailure."""
    try:
        await client.get(INVENTORY_PATH, (("limit", "1"),), _LIST_DECODER.decode)
    except (SourceForbidden, SourceNotFound):
        return False
    return True


def variant_stock(product: ListedProduct, variant: VariantRow) -> ItemStock:
    """Return the stock of a variant; the catalog's number where the Inventory API returned none."""
    match product.row.inventory_tracking:
        case "none":
            return ItemStock(quantity=None, sellable=True)
        case "product":
            return _product_item(product) or _catalog_stock(product.row.inventory_level)
        case "variant":
            return _variant_item(product, variant) or _catalog_stock(variant.inventory_level)
        case _:
            # An unknown way of tracking: stock is known only if the Inventory API has the item.
            return _variant_item(product, variant) or ItemStock(quantity=None, sellable=False)


def _variant_item(product: ListedProduct, variant: VariantRow) -> ItemStock | None:
    found = product.stock.get(variant.id)
    # The item of an only variant may carry the product's id alone.
    return found or (product.stock.get(None) if len(product.variants) == 1 else None)


def _product_item(product: ListedProduct) -> ItemStock | None:
    """Return the item of the whole product: the one without a variant, of its base variant, or its only one."""
    stock = product.stock
    if None in stock:
        return stock[None]
    if product.row.base_variant_id in stock:
        return stock[product.row.base_variant_id]
    return next(iter(stock.values())) if len(stock) == 1 else None


def _catalog_stock(level: int | None) -> ItemStock:
    return ItemStock(quantity=level, sellable=level is None or level > 0, is_of_default_location=True)


def _is_default_stock(product: ListedProduct) -> bool:
    """Return whether a stock other than zero is known from the catalog alone."""
    if product.row.inventory_tracking == "product":
        return bool(product.row.inventory_level) and _product_item(product) is None
    return any(
        isinstance(variant, VariantRow) and variant.inventory_level and _variant_item(product, variant) is None
        for variant in product.variants
    )


def _request_chunks(products: Sequence[ListedProduct]) -> Iterator[list[ListedProduct]]:
    """Split `products` so that the items of a chunk fit one page, which no concurrent write can shift."""
    chunk: list[ListedProduct] = []
    items = 0
    for product in products:
        size = len(product.variants) + 1
        if chunk and (items + size > _MAX_PAGE_SIZE or len(chunk) == _MAX_PRODUCTS_PER_CALL):
            yield chunk
            chunk, items = [], 0
        chunk.append(product)
        items += size
    if chunk:
        yield chunk


def sum_locations(locations: Sequence[LocationRow]) -> ItemStock:
    """Return the stock of an item over its enabled `locations`."""
    enabled = [one for one in locations if one.location_enabled is not False]
    return ItemStock(
        quantity=sum(map(_quantity_from_stock, enabled)),
        sellable=any(map(_is_sellable, enabled)),
        policy=_inventory_policy(enabled),
    )


def _inventory_policy(enabled: Sequence[LocationRow]) -> InventoryPolicy:
    limits = [_backorder_limit(one) for one in enabled]
    if any(limit is not None and limit > 0 for limit in limits):
        return InventoryPolicy.CONTINUE
    if limits and all(limit == 0 for limit in limits):
        return InventoryPolicy.DENY
    return InventoryPolicy.UNSPECIFIED


def _quantity_from_stock(location: LocationRow) -> int:
    """Return what can be sold without a backorder."""
    offered = location.available_to_sell or 0
    if offered <= 0 or location.total_inventory_onhand is None:
        return offered
    safety = (location.settings.safety_stock if location.settings else 0) or 0
    return min(offered, max(location.total_inventory_onhand - safety, 0))


def _is_sellable(location: LocationRow) -> bool:
    """Return whether the location sells the item; with the merchant's `is_in_stock` off it never does."""
    if location.settings is not None and location.settings.is_in_stock is False:
        return False
    return (location.available_to_sell or 0) > 0


def _backorder_limit(location: LocationRow) -> int | None:
    """Return the limit; None when the store sends none."""
    if location.backorder_limit is not None:
        return location.backorder_limit
    return location.settings.backorder_limit if location.settings else None
