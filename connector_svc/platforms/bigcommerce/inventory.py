"""Stock of products over all locations of a store, from the Inventory API.

The catalog API returns the stock of the default location alone. `/v3/inventory/items` returns every location of an
item, and an item is a variant, or a whole product where stock is counted by the product.
Reference: https://github.com/bigcommerce/docs, reference/inventory.v3.yml, schema ItemResponse.

Rules (docs/decisions/0027):
- The quantity is what can be sold from stock: on hand minus safety stock, summed over the enabled locations.
- `available_to_sell` may be more than that: it contains what may be sold on backorder.
- Whether a variant may be sold beyond its stock is said by the backorder limits (beta) where the store has any:
  a limit above 0 is CONTINUE, limits of 0 at all enabled locations are DENY, anything else is UNSPECIFIED.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from connector_svc.domain.errors import SourceForbidden, SourceNotFound, SourceQueryRefused
from connector_svc.domain.product import InventoryPolicy
from connector_svc.domain.records import MALFORMED_ERRORS
from connector_svc.platforms.bigcommerce.client import INVENTORY, StoreClient, TooMuch
from connector_svc.platforms.bigcommerce.record import ItemStock, Listed
from connector_svc.platforms.bigcommerce.wire import ItemRow, LocationRow, RawList, VariantRow

_PER_PAGE: Final = 1_000
"""What the Inventory API gives."""
_PRODUCTS_PER_CALL: Final = 250
_LIST: Final = msgspec.json.Decoder(RawList)
_ITEM: Final = msgspec.json.Decoder(ItemRow)
_TRIES: Final = 2
"""Of a list that holds fewer items than it counts."""


class Inventory:
    """Reads the stock of some products at a time."""

    def __init__(self, client: StoreClient, *, is_readable: bool) -> None:
        """`is_readable`: whether the token may read the Inventory API; otherwise nothing is asked."""
        self._client = client
        self._is_used = is_readable
        self._per_page = _PER_PAGE
        self._is_refused = False

    async def add_to(self, products: Sequence[Listed]) -> None:
        """Gives each of `products` its stock over all locations. Raises SourceFailure.

        Sets `has_default_stock` on those whose stock the Inventory API did not tell although it was readable.
        """
        if not self._is_used:
            return
        tracked = [one for one in products if one.row.inventory_tracking != "none"]
        for some in _chunks(tracked):
            found = await self._levels([one.row.id for one in some])
            for product in some:
                product.stock = found.get(product.row.id, {})
                product.has_default_stock = _is_default_stock(product)

    async def _levels(self, ids: list[int]) -> dict[int, dict[int | None, ItemStock]]:
        """By product. Empty once the scope was taken away while the pass ran."""
        found: dict[int, dict[int | None, ItemStock]] = {}
        if self._is_refused:
            return found
        try:
            for _ in range(_TRIES):
                if await self._read(ids, found):
                    break
                await self._client.pause()
        except (SourceForbidden, SourceNotFound):
            self._is_refused = True
        return found

    async def _read(self, ids: list[int], found: dict[int, dict[int | None, ItemStock]]) -> bool:
        """Adds the items of `ids` to `found`. Whether as many came as the store counts."""
        asked, received, total, page = ",".join(map(str, ids)), 0, 1, 1
        while (page - 1) * self._per_page < total:
            params = (("product_id:in", asked), ("limit", str(self._per_page)), ("page", str(page)))
            try:
                answer = (await self._client.get(INVENTORY, params, _LIST.decode, can_shrink=True)).value
            except TooMuch as fault:
                # Of a store with many locations. What came of the larger pages comes again.
                if self._per_page == 1:
                    raise fault.__cause__ or fault from None
                self._per_page, received, total, page = max(self._per_page // 4, 1), 0, 1, 1
                continue
            for raw in answer.data:
                self._add(raw, ids, found)
            received, total, page = received + len(answer.data), answer.meta.pagination.total, page + 1
        return received >= total

    def _add(self, raw: msgspec.Raw, ids: list[int], found: dict[int, dict[int | None, ItemStock]]) -> None:
        try:
            row = _ITEM.decode(raw)
        except MALFORMED_ERRORS:
            # An item that cannot be read is one without stock by location.
            return
        if row.identity.product_id not in ids:
            raise SourceQueryRefused(self._client.shop, "stock of other products than those asked for")
        found.setdefault(row.identity.product_id, {})[row.identity.variant_id or None] = sum_of_locations(
            row.locations
        )


async def is_readable(client: StoreClient) -> bool:
    """Whether the token may read the Inventory API. Raises SourceFailure."""
    try:
        await client.get(INVENTORY, (("limit", "1"),), _LIST.decode)
    except (SourceForbidden, SourceNotFound):
        return False
    return True


def stock_of(product: Listed, variant: VariantRow) -> ItemStock:
    """What is left of a variant; the catalog's own number where the Inventory API has none."""
    match product.row.inventory_tracking:
        case "none":
            return ItemStock(quantity=None, sellable=True)
        case "product":
            return _of_product(product) or _from_catalog(product.row.inventory_level)
        case "variant":
            return _of_variant(product, variant) or _from_catalog(variant.inventory_level)
        case _:
            # A way of counting that is not known: only the Inventory API can tell, if it has the item.
            return _of_variant(product, variant) or ItemStock(quantity=None, sellable=False)


def _of_variant(product: Listed, variant: VariantRow) -> ItemStock | None:
    found = product.stock.get(variant.id)
    # An only variant may be named by its product alone.
    return found or (product.stock.get(None) if len(product.variants) == 1 else None)


def _of_product(product: Listed) -> ItemStock | None:
    """The item that stands for the whole product: without a variant, or its base variant, or the only one."""
    levels = product.stock
    if None in levels:
        return levels[None]
    if product.row.base_variant_id in levels:
        return levels[product.row.base_variant_id]
    return next(iter(levels.values())) if len(levels) == 1 else None


def _from_catalog(level: int | None) -> ItemStock:
    return ItemStock(quantity=level, sellable=level is None or level > 0, is_of_default_location=True)


def _is_default_stock(product: Listed) -> bool:
    """Whether some stock of `product` is known from the catalog alone, and is not simply none."""
    if product.row.inventory_tracking == "product":
        return bool(product.row.inventory_level) and _of_product(product) is None
    return any(
        isinstance(variant, VariantRow) and variant.inventory_level and _of_variant(product, variant) is None
        for variant in product.variants
    )


def _chunks(products: Sequence[Listed]) -> Iterator[list[Listed]]:
    """So many that their items fit one page, which no write in between can shift."""
    some: list[Listed] = []
    items = 0
    for product in products:
        size = len(product.variants) + 1
        if some and (items + size > _PER_PAGE or len(some) == _PRODUCTS_PER_CALL):
            yield some
            some, items = [], 0
        some.append(product)
        items += size
    if some:
        yield some


def sum_of_locations(locations: Sequence[LocationRow]) -> ItemStock:
    """What all enabled `locations` of an item have together."""
    enabled = [one for one in locations if one.location_enabled is not False]
    return ItemStock(
        quantity=sum(map(_from_stock, enabled)), sellable=any(map(_sells, enabled)), policy=_policy(enabled)
    )


def _policy(enabled: Sequence[LocationRow]) -> InventoryPolicy:
    limits = [_backorder_limit(one) for one in enabled]
    if any(limit is not None and limit > 0 for limit in limits):
        return InventoryPolicy.CONTINUE
    if limits and all(limit == 0 for limit in limits):
        return InventoryPolicy.DENY
    return InventoryPolicy.UNSPECIFIED


def _from_stock(location: LocationRow) -> int:
    """What can be sold without a backorder."""
    offered = location.available_to_sell or 0
    if offered <= 0 or location.total_inventory_onhand is None:
        return offered
    safety = (location.settings.safety_stock if location.settings else 0) or 0
    return min(offered, max(location.total_inventory_onhand - safety, 0))


def _sells(location: LocationRow) -> bool:
    """`is_in_stock` is the merchant's own switch: off, nothing is sold from there whatever lies there."""
    if location.settings is not None and location.settings.is_in_stock is False:
        return False
    return (location.available_to_sell or 0) > 0


def _backorder_limit(location: LocationRow) -> int | None:
    """None: the store does not say."""
    if location.backorder_limit is not None:
        return location.backorder_limit
    return location.settings.backorder_limit if location.settings else None
