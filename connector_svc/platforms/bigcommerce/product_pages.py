"""Pages of whole products in the order of their ids, of which no write in between loses any.

Each page asks for what is above the last id seen, so nothing that is added or deleted elsewhere moves it. Variants
come along with their products; a product whose variants were cut off is completed before it is handed on.


Reads products by their ids."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from connector_svc.domain.errors import SourceCountMismatch, SourceQueryRefused, SourceResponseInvalid
from connector_svc.platforms.bigcommerce.client import PRODUCTS, StoreClient, TooMuch
from connector_svc.platforms.bigcommerce.error_mapping import unlisted, unreadable
from connector_svc.platforms.bigcommerce.inventory import Inventory
from connector_svc.platforms.bigcommerce.record_salvage import Broken, Listed, ProductPage, id_of, read_products
from connector_svc.platforms.bigcommerce.variant_drain import Completion
from connector_svc.platforms.bigcommerce.wire import IdList

_IDS: Final = msgspec.json.Decoder(IdList)
MOST_PER_PAGE: Final = 250
"""What BigCommerce gives; with options or modifiers included it would be 10."""
_TRIES: Final = 2
"""Of a page that holds fewer products than it counts, before fewer are asked for."""
_SHRINKING: Final = 4
"""How much fewer."""
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

    def __init__(
        self, client: StoreClient, inventory: Inventory, *, last_id: int, limit: int = MOST_PER_PAGE
    ) -> None:
        self._client = client
        self._inventory = inventory
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
        page = await self._read(last_id)
        products = [record for record in page.records if isinstance(record, Listed)]
        await self._completion.finish(products)
        await self._inventory.add_to(products)
        return page

    async def _read(self, last_id: int) -> Page:
        """Asks for less where a page is more than we take or less than it counts, and for more again afterwards.

        A page is taken when it holds as many products as the same answer counts behind `last_id`, or is full.
        Only such a page proves that nothing before its end is missing, whatever was deleted in the meantime.
        """
        tries = 0
        while True:
            try:
                answer = await self._client.get(PRODUCTS, self._params(last_id), read_products, can_shrink=True)
            except TooMuch as fault:
                if self._limit == 1:
                    return self._checked(await self._unreadable(last_id, fault), last_id)
                self._limit = max(self._limit // 2, 1)
                continue
            if self._is_whole(answer.value):
                self._limit = min(self._limit * 2, self._most)
                return self._checked(answer.value, last_id)
            tries += 1
            if tries < _TRIES:
                await self._client.pause()
            elif self._limit == 1:
                return await self._unlisted(last_id)
            else:
                self._limit, tries = max(self._limit // _SHRINKING, 1), 0

    def _is_whole(self, answer: ProductPage) -> bool:
        most = min(self._limit, answer.per_page or self._limit)
        return len(answer.items) >= min(most, answer.total)

    async def _unlisted(self, last_id: int) -> Page:
        """What comes behind `last_id` when the store counts a product there and does not list it.

        Raises SourceCountMismatch when the store lists nothing and counts more than a page.
        """
        shown = (await self._client.get(PRODUCTS, self._ids_behind(last_id, MOST_PER_PAGE), _IDS.decode)).value
        if not shown.data:
            total = shown.meta.pagination.total
            if total > MOST_PER_PAGE:
                raise SourceCountMismatch(self._client.shop, expected=total, received=0)
            return Page(records=_hidden(total), last_id=last_id, is_last=True)
        first = shown.data[0].id
        if first <= last_id:
            raise SourceQueryRefused(self._client.shop, "products do not come in the order of their ids")
        before = (("id:less", str(first)), *self._ids_behind(last_id))
        counted = (await self._client.get(PRODUCTS, before, _IDS.decode)).value
        if counted.meta.pagination.total:
            # Together with what follows them, so that a checkpoint behind them knows where they were.
            hidden = _hidden(min(counted.meta.pagination.total, MOST_PER_PAGE))
            rest = await self._read(first - 1)
            return Page(records=hidden + rest.records, last_id=rest.last_id, is_last=rest.is_last)
        found = await read_by_id(self._client, [first])
        records = found.records
        if not records and not found.is_whole:
            records = (Broken(id=first, fault=unlisted(), is_unlisted=True),)
        return Page(records=records, last_id=first, is_last=False)

    def _ids_behind(self, last_id: int, limit: int = 1) -> tuple[tuple[str, str], ...]:
        return (*self._params(last_id, limit)[1:], ("include_fields", "id"))

    async def _unreadable(self, last_id: int, fault: TooMuch) -> ProductPage:
        """The next product as one that is set aside, if the store tells its id; else what was wrong with it."""
        found = (await self._client.get(PRODUCTS, self._ids_behind(last_id), _IDS.decode)).value
        if not found.data:
            raise fault.__cause__ or fault
        return ProductPage(
            items=tuple(Broken(id=row.id, fault=unreadable()) for row in found.data),
            total=found.meta.pagination.total,
        )

    def _params(self, last_id: int, limit: int = 0) -> tuple[tuple[str, str], ...]:
        return (
            ("include", "variants,images"),
            ("sort", "id"),
            ("direction", "asc"),
            ("limit", str(limit or self._limit)),
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


def _hidden(count: int) -> tuple[Broken, ...]:
    """So many products whose ids the store does not tell."""
    return tuple(Broken(id=None, fault=unlisted(), is_unlisted=True) for _ in range(count))


def page_limit(products: int | None, items: int | None) -> int:
    """How many products to ask for at a time, so that a page has no more variants than can be held with ease."""
    if not products or not items:
        return MOST_PER_PAGE
    return min(max(_VARIANTS_PER_PAGE * products // items, 10), MOST_PER_PAGE)


IDS_PER_CALL = 100
"""BigCommerce takes any number and answers 250 products; fewer keep the answer and the URL small."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """What the store says of some ids."""

    records: tuple[Listed | Broken, ...]
    """In the order of ids."""
    is_whole: bool
    """Whether every product that the answer counts is in it, under its id."""

    @property
    def ids(self) -> set[int]:
        return {number for number in map(id_of, self.records) if number is not None}


async def read_by_id(client: StoreClient, ids: Sequence[int]) -> Answered:
    """The products of `ids`, at most IDS_PER_CALL, that the store has. Raises SourceFailure."""
    params = (
        ("include", "variants,images"),
        ("sort", "id"),
        ("direction", "asc"),
        ("limit", str(IDS_PER_CALL)),
        ("id:in", ",".join(map(str, ids))),
    )
    try:
        page = (await client.get(PRODUCTS, params, read_products, can_shrink=True)).value
    except TooMuch:
        return await _in_halves(client, ids)
    named = sorted((one for one in page.items if id_of(one) is not None), key=lambda one: id_of(one) or 0)
    answered = Answered(
        records=tuple(named),
        is_whole=len(named) == len(page.items) >= page.total,
    )
    if not answered.ids.issubset(ids):
        raise SourceQueryRefused(client.shop, "other products than those asked for")
    return answered


async def _in_halves(client: StoreClient, ids: Sequence[int]) -> Answered:
    if len(ids) == 1:
        return Answered(records=(Broken(id=ids[0], fault=unreadable()),), is_whole=True)
    middle = len(ids) // 2
    first, second = await read_by_id(client, ids[:middle]), await read_by_id(client, ids[middle:])
    return Answered(records=first.records + second.records, is_whole=first.is_whole and second.is_whole)
