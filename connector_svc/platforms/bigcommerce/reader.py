"""One pass over a store: header, batches, end."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import UTC, datetime

from connector_svc.domain.checkpoint import unseal
from connector_svc.domain.errors import SourceCountMismatch
from connector_svc.domain.fetch import Batch, End, FetchEvent, FetchRequest, Header
from connector_svc.domain.shop import ShopFacts
from connector_svc.platforms.bigcommerce.brands import Brands
from connector_svc.platforms.bigcommerce.client import StoreClient
from connector_svc.platforms.bigcommerce.facts import count_products, count_variants, read_facts
from connector_svc.platforms.bigcommerce.pages import Pages, page_limit
from connector_svc.platforms.bigcommerce.parse import Parser
from connector_svc.platforms.bigcommerce.position import FINGERPRINT, Position
from connector_svc.platforms.bigcommerce.record import Listed
from connector_svc.platforms.bigcommerce.tally import Tally

_FULL = "pages in the order of ids with all variants, which neither new nor deleted products shift"
_INCREMENTAL = "every product is looked at, since a variant's stock moves no date; only changed products are sent"


class Reader:
    """Reads the products of one request."""

    def __init__(self, request: FetchRequest, client: StoreClient, clock: Callable[[], datetime]) -> None:
        self._request = request
        self._client = client
        self._clock = clock

    async def events(self) -> AsyncGenerator[FetchEvent, None]:
        """See `Platform.fetch`."""
        resumed = unseal(self._request, fingerprint=FINGERPRINT, position_type=Position)
        facts = await read_facts(self._client)
        position = resumed or await self._beginning()
        yield self._header(facts.shop, position, is_resumed=resumed is not None)
        tally = Tally(self._request, position, Parser(facts))
        async with aclosing(self._walked(tally)) as events:
            async for event in events:
                yield event

    async def _walked(self, tally: Tally) -> AsyncGenerator[Batch | End, None]:
        """All batches, then the end once no fewer products came than the store counts.

        What was made while we read has the highest ids, so looking again behind the last one finds it. When that
        brings nothing and the count still stands above, something was not delivered.
        """
        before = -1
        brands = Brands(self._client)
        while True:
            async with aclosing(self._batches(tally, brands)) as batches:
                async for batch in batches:
                    yield batch
            total = (await count_products(self._client)).total
            seen = tally.position.seen
            if seen >= total:
                yield tally.end(total)
                return
            if seen == before:
                raise SourceCountMismatch(self._request.shop, expected=total, received=seen)
            before = seen

    async def _batches(self, tally: Tally, brands: Brands) -> AsyncGenerator[Batch, None]:
        position = tally.position
        limit = page_limit(position.estimated_products, position.estimated_items)
        pages = Pages(self._client, last_id=position.last_id, limit=limit)
        async with aclosing(pages.pages()) as loaded:
            async for page in loaded:
                ids = {one.row.brand_id for one in page.records if isinstance(one, Listed)}
                names = await brands.names(ids)
                for batch in tally.batches(page.records, names):
                    yield batch

    async def _beginning(self) -> Position:
        products = await count_products(self._client)
        variants = await count_variants(self._client)
        return Position(
            watermark=products.at or self._clock().astimezone(UTC),
            estimated_products=products.total,
            estimated_items=variants.total,
        )

    def _header(self, facts: ShopFacts, position: Position, *, is_resumed: bool) -> Header:
        incremental = self._request.updated_after is not None
        return Header(
            facts=facts,
            strategy="paging",
            strategy_reason=_INCREMENTAL if incremental else _FULL,
            watermark=position.watermark,
            resumed=is_resumed,
            estimated_product_count=None if incremental else position.estimated_products,
            estimated_item_count=None if incremental else position.estimated_items,
        )
