"""Store-wide data: name, currency, weight unit, record counts and brand names."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

import msgspec

from connector_svc.domain.errors import SourceForbidden, SourceNotFound, SourceResponseInvalid
from connector_svc.domain.shop import ShopInfo
from connector_svc.platforms.bigcommerce.client import (
    BRANDS_PATH,
    PRODUCTS_PATH,
    STORE_PATH,
    VARIANTS_PATH,
    Params,
    StoreClient,
)
from connector_svc.platforms.bigcommerce.error_mapping import INVENTORY_SCOPE
from connector_svc.platforms.bigcommerce.inventory import is_inventory_readable
from connector_svc.platforms.bigcommerce.wire import BrandList, RawList, StoreRow

API_VERSION: Final = "v3"
_BRANDS_PER_CALL: Final = 250
_MAX_CACHED_BRANDS: Final = 5_000
_CURRENCY: Final = re.compile(r"[A-Z]{3}")
_WEIGHT_UNITS: Final = {
    "kgs": ("kg", Decimal(1)),
    "kilograms": ("kg", Decimal(1)),
    "grams": ("g", Decimal(1)),
    "lbs": ("lb", Decimal(1)),
    "pounds": ("lb", Decimal(1)),
    "ounces": ("oz", Decimal(1)),
    "tonnes": ("kg", Decimal(1000)),
}
"""BigCommerce's units of weight with our unit and the factor to it."""
UNDATED_CHANGES_NOTE: Final = (
    "BigCommerce does not date changes of a single variant: every sync reads stock, prices and SKUs; a weight, an "
    "image or a backorder limit that was changed on the variant alone is read by the next full sync."
)
_DEFAULT_LOCATION_NOTE: Final = (
    f"The API account lacks the scope {INVENTORY_SCOPE}: stock is that of the store's default location alone."
)
_NO_WEIGHTS_NOTE: Final = "The store's unit of weight is unknown: weights are left out."
_STORE_DECODER: Final = msgspec.json.Decoder(StoreRow)
_LIST_DECODER: Final = msgspec.json.Decoder(RawList)
_BRANDS_DECODER: Final = msgspec.json.Decoder(BrandList)


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreInfo:
    """Properties of a store that a pass needs."""

    shop_info: ShopInfo
    storefront_url: str
    """Without a final slash; empty: unknown."""
    weight_unit: str
    """"kg", "g", "lb", "oz"; empty: unknown, so that weights are left out."""
    weight_factor: Decimal
    """From the store's unit to `weight_unit`."""
    is_inventory_readable: bool = True
    """Whether the token may read stock over all locations."""


async def read_store_info(client: StoreClient) -> StoreInfo:
    """Read the store's properties with two requests. Raises SourceFailure."""
    row = await _read_store(client)
    unit, factor = _WEIGHT_UNITS.get(row.weight_units.lower(), ("", Decimal(1)))
    inventory_readable = await is_inventory_readable(client)
    shop_info = ShopInfo(
        currency_code=row.currency,
        platform_shop_id=client.store_hash,
        display_name=row.name,
        served_api_version=API_VERSION,
        notes=(() if inventory_readable else (_DEFAULT_LOCATION_NOTE,)) + (() if unit else (_NO_WEIGHTS_NOTE,)),
    )
    return StoreInfo(
        shop_info=shop_info,
        storefront_url=row.secure_url.rstrip("/") if row.secure_url.startswith("https://") else "",
        weight_unit=unit,
        weight_factor=factor,
        is_inventory_readable=inventory_readable,
    )


async def read_currency(client: StoreClient) -> str:
    """Return the store's current currency, ISO 4217. Raises SourceFailure."""
    return (await _read_store(client)).currency


async def _read_store(client: StoreClient) -> StoreRow:
    row = (await client.get(STORE_PATH, (), _STORE_DECODER.decode)).value
    if row.id and row.id != client.store_hash:
        raise SourceResponseInvalid(client.shop, "the reply is from another store")
    if not _CURRENCY.fullmatch(row.currency):
        raise SourceResponseInvalid(client.shop, "the store's currency is not an ISO 4217 code")
    return row


@dataclass(frozen=True, kw_only=True, slots=True)
class Count:
    """Number of records in a list, and the server's time of that reply."""

    total: int
    server_time: datetime | None


async def count_products(client: StoreClient) -> Count:
    """Count all products of the store. Raises SourceFailure."""
    return await _count(client, PRODUCTS_PATH, ())


async def count_variants(client: StoreClient, *, product_ids: str = "") -> Count:
    """Count all variants, or those of the comma-separated `product_ids`. Raises SourceFailure."""
    return await _count(client, VARIANTS_PATH, (("product_id:in", product_ids),) if product_ids else ())


async def _count(client: StoreClient, path: str, filters: Params) -> Count:
    params = (("limit", "1"), ("include_fields", "id"), *filters)
    response = await client.get(path, params, _LIST_DECODER.decode)
    return Count(total=response.value.meta.pagination.total, server_time=response.server_time)


class BrandNames:
    """Cache of brand names by id: a product carries only its brand's id. Each brand is requested once."""

    def __init__(self, client: StoreClient) -> None:
        self._client = client
        self._names: OrderedDict[int, str] = OrderedDict()

    async def read(self, brand_ids: Iterable[int | None]) -> Mapping[int, str]:
        """Return the names by id, without brands that do not exist. Raises SourceFailure."""
        wanted = {number for number in brand_ids if number}
        unknown = sorted(wanted - self._names.keys())
        for start in range(0, len(unknown), _BRANDS_PER_CALL):
            await self._request(unknown[start : start + _BRANDS_PER_CALL])
        found = {number: self._names[number] for number in wanted if self._names.get(number)}
        while len(self._names) > _MAX_CACHED_BRANDS:
            self._names.popitem(last=False)
        return found

    async def _request(self, brand_ids: list[int]) -> None:
        params = (
            ("id:in", ",".join(map(str, brand_ids))),
            ("include_fields", "name"),
            ("limit", str(_BRANDS_PER_CALL)),
        )
        self._names |= dict.fromkeys(brand_ids, "")
        try:
            response = await self._client.get(BRANDS_PATH, params, _BRANDS_DECODER.decode)
        except (SourceForbidden, SourceNotFound):
            # A product without its vendor is better than no catalog.
            return
        self._names |= {row.id: row.name for row in response.value.data}
