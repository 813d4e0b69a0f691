"""Pages of whole products in the order of their ids, of which no write in between loses any.

Each page asks for what is above the last id seen, so nothing that is added or deleted elsewhere moves it. Variants
come along with their products; a product whose variants were cut off is completed before it is handed on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Final

import msgspec

from connector_svc.domain.errors import SourceQueryRefused, SourceResponseInvalid
from connector_svc.platforms.bigcommerce.client import PRODUCTS, StoreClient, TooMuch
from connector_svc.platforms.bigcommerce.completion import Completion
from connector_svc.platforms.bigcommerce.faults import unreadable
from connector_svc.platforms.bigcommerce.record import Broken, Listed, ProductPage, read_products
from connector_svc.platforms.bigcommerce.wire import IdList

_IDS: Final = msgspec.json.Decoder(IdList)
MOST_PER_PAGE: Final = 250
"""What BigCommerce gives; with options or modifiers included it would be 10."""
_VARIANTS_PER_PAGE: Final = 2_500
"""About 2 MB of JSON."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """Products that were not seen before."""

    records: tuple[Listed | Broken, ...]
    last_id: int
    """To go on behind."""
    is_last: bool


class Pages:
    """Walks once over the products behind `last_id`, holding two pages at most."""

    def __init__(self, client: StoreClient, *, last_id: int, limit: int = MOST_PER_PAGE) -> None:
        self._client = client
        self._completion = Completion(client)
        self._last_id = last_id
        self._most = self._limit = limit

    async def pages(self) -> AsyncGenerator[Page, None]:
        """Yields until the store has no more; the next page is read ahead. Raises SourceFailure."""
        upcoming = asyncio.create_task(self._load(self._last_id))
        try:
            while True:
                page = await upcoming
                if not page.is_last:
                    upcoming = asyncio.create_task(self._load(page.last_id))
                yield page
                if page.is_last:
                    return
        finally:
            upcoming.cancel()
            await asyncio.gather(upcoming, return_exceptions=True)

    async def _load(self, last_id: int) -> Page:
        page = self._checked(await self._read(last_id), last_id)
        await self._completion.finish([record for record in page.records if isinstance(record, Listed)])
        return page

    async def _read(self, last_id: int) -> ProductPage:
        """Asks for less where a page is more than we take, and for more again afterwards."""
        while True:
            try:
                answer = await self._client.get(PRODUCTS, self._params(last_id), read_products, can_shrink=True)
            except TooMuch as fault:
                if self._limit == 1:
                    return await self._unreadable(last_id, fault)
                self._limit = max(self._limit // 2, 1)
                continue
            self._limit = min(self._limit * 2, self._most)
            return answer.value

    async def _unreadable(self, last_id: int, fault: TooMuch) -> ProductPage:
        """The next product as one that is set aside, if the store tells its id; else what was wrong with it."""
        params = (*self._params(last_id)[1:], ("include_fields", "id"))
        found = (await self._client.get(PRODUCTS, params, _IDS.decode)).value
        if not found.data:
            raise fault.__cause__ or fault
        return ProductPage(
            items=tuple(Broken(id=row.id, fault=unreadable()) for row in found.data),
            total=found.meta.pagination.total,
        )

    def _params(self, last_id: int) -> tuple[tuple[str, str], ...]:
        return (
            ("include", "variants,images"),
            ("sort", "id"),
            ("direction", "asc"),
            ("limit", str(self._limit)),
            ("id:greater", str(last_id)),
        )

    def _checked(self, answer: ProductPage, last_id: int) -> Page:
        """Raises SourceQueryRefused when the order or the filter was not kept: what followed would have gaps."""
        ids = [number for number in map(id_of, answer.items) if number is not None]
        if ids != sorted(ids) or (ids and ids[0] <= last_id):
            raise SourceQueryRefused(self._client.shop, "products do not come in the order of their ids")
        is_last = answer.total <= len(answer.items) or not answer.items
        if is_last:
            return Page(records=answer.items, last_id=max([last_id, *ids]), is_last=True)
        if not ids:
            raise SourceResponseInvalid(self._client.shop, "a page of products without a usable id")
        # What has no id and comes last comes again at the head of the next page.
        end = max(place for place, item in enumerate(answer.items) if id_of(item) is not None) + 1
        return Page(records=answer.items[:end], last_id=ids[-1], is_last=False)


def id_of(record: Listed | Broken) -> int | None:
    """The product's id, if it has one."""
    return record.id if isinstance(record, Broken) else record.row.id


def page_limit(products: int | None, items: int | None) -> int:
    """How many products to ask for at a time, so that a page has no more variants than can be held with ease."""
    if not products or not items:
        return MOST_PER_PAGE
    return min(max(_VARIANTS_PER_PAGE * products // items, 10), MOST_PER_PAGE)
