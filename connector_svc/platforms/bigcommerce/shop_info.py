"""What a store tells about itself.

Names of brands, which products know by id alone."""

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
from connector_svc.platforms.bigcommerce.client import BRANDS, PRODUCTS, STORE, VARIANTS, Params, StoreClient
from connector_svc.platforms.bigcommerce.error_mapping import INVENTORY_SCOPE
from connector_svc.platforms.bigcommerce.inventory import is_readable
from connector_svc.platforms.bigcommerce.wire import BrandList, RawList, StoreRow

API: Final = "v3"
_CURRENCY: Final = re.compile(r"[A-Z]{3}")
_ONE: Final = Decimal(1)
_UNITS: Final = {
    "kgs": ("kg", _ONE),
    "kilograms": ("kg", _ONE),
    "grams": ("g", _ONE),
    "lbs": ("lb", _ONE),
    "pounds": ("lb", _ONE),
    "ounces": ("oz", _ONE),
    "tonnes": ("kg", Decimal(1000)),
}
LIMITATION: Final = (
    "BigCommerce does not date a change of a single variant: stock, prices and SKUs come with every sync, a "
    "weight, an image or a backorder limit that was changed on the variant alone with the next full one."
)
_DEFAULT_STOCK: Final = (
    f"The API account lacks the scope {INVENTORY_SCOPE}: stock is that of the store's default location alone."
)
_NO_WEIGHTS: Final = "The store's unit of weight is unknown: weights are left out."
_STORE: Final = msgspec.json.Decoder(StoreRow)
_LIST: Final = msgspec.json.Decoder(RawList)


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreFacts:
    """What a pass needs to know of a store."""

    shop: ShopInfo
    url: str
    """The storefront's address, without a final slash; empty: unknown."""
    weight_unit: str
    """"kg", "g", "lb", "oz"; empty: unknown, so that weights mean nothing."""
    weight_factor: Decimal
    """From the store's unit to `weight_unit`."""
    has_inventory: bool = True
    """Whether stock can be read over all locations."""


async def read_currency(client: StoreClient) -> str:
    """The store's currency as of now, ISO 4217. Raises SourceFailure."""
    return (await _read_store(client)).currency


async def read_facts(client: StoreClient) -> StoreFacts:
    """Reads them with two calls. Raises SourceFailure."""
    row = await _read_store(client)
    unit, factor = _UNITS.get(row.weight_units.lower(), ("", _ONE))
    has_inventory = await is_readable(client)
    facts = ShopInfo(
        currency_code=row.currency,
        platform_shop_id=client.store_hash,
        shop_name=row.name,
        served_api_version=API,
        notes=(() if has_inventory else (_DEFAULT_STOCK,)) + (() if unit else (_NO_WEIGHTS,)),
    )
    return StoreFacts(
        shop=facts,
        url=row.secure_url.rstrip("/") if row.secure_url.startswith("https://") else "",
        weight_unit=unit,
        weight_factor=factor,
        has_inventory=has_inventory,
    )


async def _read_store(client: StoreClient) -> StoreRow:
    row = (await client.get(STORE, (), _STORE.decode)).value
    if row.id and row.id != client.store_hash:
        raise SourceResponseInvalid(client.shop, "another store answers")
    if not _CURRENCY.fullmatch(row.currency):
        raise SourceResponseInvalid(client.shop, "its currency is no ISO 4217 code")
    return row


@dataclass(frozen=True, kw_only=True, slots=True)
class Count:
    """How many records a list has, by the platform's clock."""

    total: int
    at: datetime | None


async def count_products(client: StoreClient) -> Count:
    """All products of the store. Raises SourceFailure."""
    return await _count(client, PRODUCTS, ())


async def count_variants(client: StoreClient, *, of_products: str = "") -> Count:
    """All variants, or those of the products whose ids are listed with commas. Raises SourceFailure."""
    return await _count(client, VARIANTS, (("product_id:in", of_products),) if of_products else ())


async def _count(client: StoreClient, path: str, window: Params) -> Count:
    params = (("limit", "1"), ("include_fields", "id"), *window)
    answer = await client.get(path, params, _LIST.decode)
    return Count(total=answer.value.meta.pagination.total, at=answer.at)


_PER_CALL: Final = 250
_MOST: Final = 5_000
"""Remembered."""
_BRANDS: Final = msgspec.json.Decoder(BrandList)


class Brands:
    """Asks for each brand once, many at a time."""

    def __init__(self, client: StoreClient) -> None:
        self._client = client
        self._names: OrderedDict[int, str] = OrderedDict()

    async def names(self, ids: Iterable[int | None]) -> Mapping[int, str]:
        """By id; a brand that is not there is left out. Raises SourceFailure."""
        wanted = {number for number in ids if number}
        unknown = sorted(wanted - self._names.keys())
        for start in range(0, len(unknown), _PER_CALL):
            await self._read(unknown[start : start + _PER_CALL])
        found = {number: self._names[number] for number in wanted if self._names.get(number)}
        while len(self._names) > _MOST:
            self._names.popitem(last=False)
        return found

    async def _read(self, ids: list[int]) -> None:
        params = (("id:in", ",".join(map(str, ids))), ("include_fields", "name"), ("limit", str(_PER_CALL)))
        self._names |= dict.fromkeys(ids, "")
        try:
            answer = await self._client.get(BRANDS, params, _BRANDS.decode)
        except (SourceForbidden, SourceNotFound):
            # A vendor is worth less than the catalog.
            return
        self._names |= {row.id: row.name for row in answer.value.data}
