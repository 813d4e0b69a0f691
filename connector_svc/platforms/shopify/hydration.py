"""IdListing and hydrate: lists the ids page by page, and reads the products of each page by their ids.

Reads products whose ids are known, as long as that is cheaper than reading pages of them.

Reads the products that a request names by their ids."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import timedelta
from functools import partial

import msgspec

from connector_svc.domain.errors import SourceResponseInvalid
from connector_svc.domain.fetch import Batch
from connector_svc.domain.issue import IssueReason
from connector_svc.platforms.shopify.batch_builder import BatchBuilder
from connector_svc.platforms.shopify.client import ShopifyClient
from connector_svc.platforms.shopify.error_mapping import MaxCostExceeded, ShopifyInternalError, internal_error
from connector_svc.platforms.shopify.graphql_response import GraphqlResponse
from connector_svc.platforms.shopify.node_decoding import DecodedNode, decode_nodes
from connector_svc.platforms.shopify.page_size import PageSize
from connector_svc.platforms.shopify.pages import IdListing, IdPage, PageCursor, ProductPage, ProductPages
from connector_svc.platforms.shopify.parse import Record, to_record
from connector_svc.platforms.shopify.queries import PRODUCT_IDS, product_page, products_by_id
from connector_svc.platforms.shopify.variant_drain import VariantDrain
from connector_svc.platforms.shopify.wire import numeric_id, product_gid

_log = logging.getLogger(__name__)

_AT_ONCE = 3
"""ProductPages of products that are read at the same time: enough to spend 100 points a second at a second per reply."""


class HydratedPages:
    """The pages of one pass, like `ProductPages`: same products, same order, same places.

    Shopify does not multiply the cost of `nodes(ids:)` by the number of ids, as far as recorded replies show; that
    makes this several times cheaper than pages. Nobody promises it, so each reported cost is looked at, and as
    soon as it does not pay, the rest is read by pages.
    """

    def __init__(self, client: ShopifyClient, *, inventory: bool, largest: int, pause: timedelta) -> None:
        self._sweep = IdListing(client, largest=largest, pause=pause)
        self._hydrator = ProductsById(client, inventory=inventory, largest=largest, pause=pause)
        self._pages = ProductPages(client, inventory=inventory, largest=largest, pause=pause)

    @property
    def pays(self) -> bool:
        """Whether the costs reported so far speak for it."""
        return self._hydrator.pays

    async def read_from(self, place: PageCursor) -> AsyncGenerator[ProductPage, None]:
        """Every page from `place` on. Three pages are held ahead at most; closing it cancels their loads."""
        done = place
        try:
            async with aclosing(self._hydrated(place)) as pages:
                async for page in pages:
                    yield page
                    done = page.end
                    if not page.has_next:
                        return
        except HydrationTooExpensive:
            _log.info("products are read by pages: reading them by their ids costs more")
        async with aclosing(self._pages.read_from(done)) as pages:
            async for page in pages:
                yield page

    async def _hydrated(self, place: PageCursor) -> AsyncGenerator[ProductPage, None]:
        """In the order of the sweep. Raises HydrationTooExpensive when pages should go on behind the last one yielded."""
        if not self.pays:
            raise HydrationTooExpensive
        loading: deque[asyncio.Task[ProductPage]] = deque()
        sweep: asyncio.Task[IdPage] | None = asyncio.create_task(self._sweep.load(place))
        try:
            while sweep is not None or loading:
                while sweep is not None and self.pays and len(loading) < self._width:
                    swept = await sweep
                    sweep = asyncio.create_task(self._sweep.load(swept.end)) if swept.has_next else None
                    loading.append(asyncio.create_task(self._hydrator.load(swept)))
                if not loading:
                    raise HydrationTooExpensive
                page = await loading[0]
                loading.popleft()
                yield page
        finally:
            await _cancelled(*loading, *([sweep] if sweep is not None else []))

    @property
    def _width(self) -> int:
        """The first page goes alone: its reported cost tells whether more should follow."""
        return _AT_ONCE if self._hydrator.has_told_cost else 1


async def _cancelled(*tasks: asyncio.Task[ProductPage] | asyncio.Task[IdPage]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.exception()


_UNREADABLE_IN_A_ROW = 5
"""So many products in a row that Shopify fails to deliver, and it is Shopify, not the products."""


class HydrationTooExpensive(Exception):
    """Products by their ids cost more than a page of products. Never leaves this package."""


class ProductsById:
    """Turns pages of ids into pages of products."""

    def __init__(
        self,
        client: ShopifyClient,
        *,
        inventory: bool,
        largest: int,
        pause: timedelta,
        has_alternative: bool = True,
    ) -> None:
        """`has_alternative`: whether HydrationTooExpensive may be raised; else the query is made smaller."""
        self.pays = True
        """Whether the last reported cost was below that of a page."""
        self.has_told_cost = False
        """Whether a cost has been reported yet."""
        self._client = client
        self._query = products_by_id(inventory=inventory)
        self._page_query = product_page(inventory=inventory)
        self._largest = largest
        self._completion = VariantDrain(client, inventory=inventory, pause=pause)
        self._size = PageSize(largest, pause=pause)
        self._unreadable = 0
        self._has_alternative = has_alternative

    async def load(self, swept: IdPage) -> ProductPage:
        """The products of these ids in their order, without those that are gone meanwhile.

        Raises SourceFailure, and HydrationTooExpensive when the platform refuses the query as too dear.
        """
        records = await self.read(swept.gids)
        found = tuple(record for record in records if record is not None)
        return ProductPage(records=found, end=swept.end, has_next=swept.has_next)

    async def read(self, gids: Sequence[str]) -> list[Record | None]:
        """Of each id its product; None: there is none.

        A null is asked for once more in a request of its own: the platform also answers so for a product that it
        fails to find in time. Raises SourceFailure, and HydrationTooExpensive.
        """
        records = await self._read_all(gids)
        absent = [gid for gid, record in zip(gids, records, strict=True) if record is None]
        if not absent:
            return records
        again = dict(zip(absent, await self._read_all(absent), strict=True))
        return [again[gid] if record is None else record for gid, record in zip(gids, records, strict=True)]

    async def _read_all(self, gids: Sequence[str]) -> list[Record | None]:
        records: list[Record | None] = []
        while len(records) < len(gids):
            records += await self._read(gids[len(records) :])
        return records

    async def _read(self, gids: Sequence[str]) -> list[Record | None]:
        """The first of these, as many as the platform can serve at once."""
        try:
            answer = await self._size.ask(partial(self._ask, gids))
        except (ShopifyInternalError, MaxCostExceeded):
            return [await self._read_alone(gids[0])]
        self._unreadable = 0
        found = self._nodes(answer)
        if not 0 < len(found) <= len(gids):
            raise SourceResponseInvalid(self._client.shop, "other products than were asked for")
        return [await self._finished(one, gid) for one, gid in zip(found, gids, strict=False)]

    async def _finished(self, found: DecodedNode | None, gid: str) -> Record | None:
        if found is None:
            return None
        # What was blamed away has no id of its own left.
        named = msgspec.structs.replace(found, product_id=found.product_id or numeric_id(gid, "Product"))
        return await self._completion.finish(to_record(named))

    async def _read_alone(self, gid: str) -> Record | None:
        self._unreadable += 1
        number = numeric_id(gid, "Product")
        if self._unreadable > _UNREADABLE_IN_A_ROW or not number:
            raise internal_error(self._client.shop)
        return await self._completion.read(number)

    async def _ask(self, gids: Sequence[str], count: int) -> GraphqlResponse:
        chosen = list(gids[:count])
        try:
            answer = await self._client.call(self._query, {"ids": chosen})
        except MaxCostExceeded:
            self.pays = False
            if not self._has_alternative:
                raise
            raise HydrationTooExpensive from None
        if answer.cost.requested_query_cost is not None:
            self._judge(answer.cost.requested_query_cost)
        return answer

    def _judge(self, cost: float) -> None:
        """A page asks for its whole size also when fewer products are left, so it is compared as it would be."""
        swept = self._client.cost_of(PRODUCT_IDS, self._largest)
        self.has_told_cost = True
        self.pays = cost + swept <= self._client.cost_of(self._page_query, self._largest)

    def _nodes(self, answer: GraphqlResponse) -> list[DecodedNode | None]:
        try:
            return decode_nodes(answer.data or msgspec.Raw(b"null"), answer.errors)
        except (msgspec.DecodeError, RecursionError) as error:
            raise SourceResponseInvalid(self._client.shop, "products that do not follow the schema") from error


async def requested_products(
    hydrator: ProductsById, tally: BatchBuilder, ids: Sequence[str]
) -> AsyncGenerator[Batch, None]:
    """What becomes of at most 250 ids: products, then those that are gone. Raises SourceFailure.

    What is no id of Shopify is gone as well. A product that the platform answers with an error is in no batch:
    nobody knows whether it is there.
    """
    asked = [product_id for product_id in ids if _is_id(product_id)]
    records = dict(zip(asked, await hydrator.read([product_gid(one) for one in asked]), strict=True))
    for batch in tally.late(
        record for record in records.values() if record is not None and not _is_unknown(record)
    ):
        yield batch
    gone = tuple(product_id for product_id in ids if records.get(product_id) is None)
    if gone:
        yield Batch(products=(), checkpoint=tally.moved(), deleted_product_ids=gone)


def _is_id(text: str) -> bool:
    return bool(numeric_id(product_gid(text), "Product")) and not text.startswith("0")


def _is_unknown(record: Record) -> bool:
    return record.product is None and any(one.reason is IssueReason.SOURCE_ERROR for one in record.issues)
