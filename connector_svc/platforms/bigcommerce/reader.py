"""One pass over a store: header, batches, end."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime

from connector_svc.domain.checkpoint import decode_checkpoint
from connector_svc.domain.errors import SourceCountMismatch, SourceCurrencyChanged
from connector_svc.domain.fetch import Batch, FetchEvent, FetchRequest, Header, check_completeness
from connector_svc.domain.shop import ShopInfo
from connector_svc.platforms.bigcommerce.brands import Brands
from connector_svc.platforms.bigcommerce.by_id import IDS_PER_CALL, read_by_id
from connector_svc.platforms.bigcommerce.client import StoreClient
from connector_svc.platforms.bigcommerce.completion import Completion
from connector_svc.platforms.bigcommerce.inventory import Inventory
from connector_svc.platforms.bigcommerce.pages import Pages, page_limit
from connector_svc.platforms.bigcommerce.parse import Parser
from connector_svc.platforms.bigcommerce.position import FINGERPRINT, Position
from connector_svc.platforms.bigcommerce.record import Broken, Listed, id_of
from connector_svc.platforms.bigcommerce.shop_info import (
    LIMITATION,
    count_products,
    count_variants,
    read_currency,
    read_facts,
)
from connector_svc.platforms.bigcommerce.tally import Tally

_FULL = "pages in the order of ids with all variants, which neither new nor deleted products shift"
_INCREMENTAL = "every product is looked at, since a variant's stock moves no date; only changed products are sent"
_NAMED = "the products that were asked for by their ids"


class Reader:
    """Reads the products of one request."""

    def __init__(self, request: FetchRequest, client: StoreClient, clock: Callable[[], datetime]) -> None:
        self._request = request
        self._client = client
        self._clock = clock
        self._counted: int | None = None
        """Products, as the store counted them last."""

    async def events(self) -> AsyncGenerator[FetchEvent, None]:
        """See `Platform.fetch`."""
        resumed = decode_checkpoint(self._request, fingerprint=FINGERPRINT, position_type=Position)
        facts = await read_facts(self._client)
        position = resumed or await self._beginning(facts.shop.currency_code)
        yield self._header(facts.shop, position, is_resumed=resumed is not None)
        # Behind the header, which tells the receiver the currency to start over with.
        self._check_currency(position, facts.shop.currency_code)
        tally = Tally(self._request, position, Parser(facts))
        inventory = Inventory(self._client, is_readable=facts.has_inventory)
        events = self._named if self._request.product_ids else self._walked
        async with aclosing(events(tally, inventory)) as batches:
            async for batch in batches:
                yield batch
        self._check_currency(position, await read_currency(self._client))
        counts = tally.position.counts
        received = counts.emitted + counts.rejected
        if not self._request.product_ids:
            undelivered = tally.position.nameless + tally.position.unlisted
            check_completeness(self._request.shop, counted=received, undelivered=undelivered)
        yield tally.end(self._counted if self._counted is not None else received)

    async def _walked(self, tally: Tally, inventory: Inventory) -> AsyncGenerator[Batch, None]:
        """All batches, until no fewer products came than the store counts.

        Each page proves that it is whole. What was made while we read has the highest ids, so looking again behind
        the last one finds it. When that brings nothing and the count still stands above, something did not come.
        """
        before = -1
        brands = Brands(self._client)
        while True:
            async with aclosing(self._batches(tally, brands, inventory)) as batches:
                async for batch in batches:
                    yield batch
            self._counted = (await count_products(self._client)).total
            seen = tally.position.seen
            if seen >= self._counted:
                return
            if seen == before:
                raise SourceCountMismatch(self._request.shop, expected=self._counted, received=seen)
            before = seen

    async def _batches(self, tally: Tally, brands: Brands, inventory: Inventory) -> AsyncGenerator[Batch, None]:
        position = tally.position
        limit = page_limit(position.estimated_products, position.estimated_items)
        pages = Pages(self._client, inventory, last_id=position.last_id, limit=limit)
        async with aclosing(pages.pages()) as loaded:
            async for page in loaded:
                for batch in tally.batches(page.records, await _brand_names(brands, page.records)):
                    yield batch

    async def _named(self, tally: Tally, inventory: Inventory) -> AsyncGenerator[Batch, None]:
        """The products that the request names; those that two answers do not have are deleted.

        The second answer must count none of them: a row that is counted and does not come decides nothing.
        """
        brands, completion = Brands(self._client), Completion(self._client)
        impossible = tuple(name for name in self._request.product_ids if _number(name) is None)
        if impossible:
            yield tally.deleted(impossible)
        ids = sorted(filter(None, map(_number, self._request.product_ids)))
        for start in range(0, len(ids), IDS_PER_CALL):
            asked = ids[start : start + IDS_PER_CALL]
            records = list((await read_by_id(self._client, asked)).records)
            missing = sorted(set(asked).difference(map(id_of, records)))
            gone: set[int] = set()
            if missing:
                again = await read_by_id(self._client, missing)
                records = sorted([*records, *again.records], key=lambda record: id_of(record) or 0)
                gone = set(missing) - again.ids if again.is_whole else set()
            products = [record for record in records if isinstance(record, Listed)]
            await completion.finish(products)
            await inventory.add_to(products)
            for batch in tally.batches(records, await _brand_names(brands, records)):
                yield batch
            if gone:
                yield tally.deleted(tuple(map(str, sorted(gone))))

    def _check_currency(self, position: Position, currency: str) -> None:
        """Raises SourceCurrencyChanged when the pass began with another currency."""
        if position.currency and position.currency != currency:
            raise SourceCurrencyChanged(self._request.shop, expected=position.currency, received=currency)

    async def _beginning(self, currency: str) -> Position:
        if self._request.product_ids:
            return Position(watermark=self._clock().astimezone(UTC), currency=currency)
        products = await count_products(self._client)
        variants = await count_variants(self._client)
        return Position(
            watermark=products.at or self._clock().astimezone(UTC),
            currency=currency,
            estimated_products=products.total,
            estimated_items=variants.total,
        )

    def _header(self, shop_info: ShopInfo, position: Position, *, is_resumed: bool) -> Header:
        incremental = self._request.updated_after is not None
        named = bool(self._request.product_ids)
        return Header(
            shop_info=shop_info,
            strategy="ids" if named else "paging",
            strategy_reason=_NAMED if named else _INCREMENTAL if incremental else _FULL,
            watermark=position.watermark,
            resumed=is_resumed,
            estimated_product_count=None if incremental else position.estimated_products,
            estimated_item_count=None if incremental else position.estimated_items,
            notes=((LIMITATION,) if incremental else ()) + shop_info.notes,
        )


async def _brand_names(brands: Brands, records: Sequence[Listed | Broken]) -> Mapping[int, str]:
    return await brands.names({one.row.brand_id for one in records if isinstance(one, Listed)})


def _number(product_id: str) -> int | None:
    """An id as BigCommerce writes it; None for what no product can have as its id."""
    if not (product_id.isascii() and product_id.isdecimal()) or product_id.startswith("0"):
        return None
    number = int(product_id)
    return number if number < 2**63 else None
