"""Pages of products and pages of product ids, in id order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

import msgspec

from connector_svc.domain.errors import SourceQueryRefused, SourceResponseInvalid
from connector_svc.platforms.shopify.client import ShopifyClient
from connector_svc.platforms.shopify.error_mapping import (
    InvalidCursor,
    MaxCostExceeded,
    ShopifyInternalError,
    internal_error,
)
from connector_svc.platforms.shopify.graphql_response import GraphqlResponse
from connector_svc.platforms.shopify.node_decoding import DecodedNode, decode_page
from connector_svc.platforms.shopify.page_size import PageSize
from connector_svc.platforms.shopify.parse import Record, to_record
from connector_svc.platforms.shopify.queries import PRODUCT_IDS, Query, Variables, ids_after, product_page
from connector_svc.platforms.shopify.variant_drain import VariantDrain
from connector_svc.platforms.shopify.wire import IdNode, PageData, PageInfo, numeric_id

_IDS = msgspec.json.Decoder(PageData[IdNode])

MAX_CONSECUTIVE_UNREADABLE = 5
"""When Shopify fails to deliver more products in a row, the cause is Shopify and not the products."""


@dataclass(frozen=True, slots=True)
class PageCursor:
    """The position where a page begins."""

    search: str | None
    after: str | None = None
    """A GraphQL cursor of the same filter."""
    after_id: int = 0
    """The filter finds what `search` finds, after this id."""
    last_id: int = 0
    """The id of the last product before the GraphQL cursor; 0: not known."""

    @property
    def query(self) -> str | None:
        """The search filter."""
        return ids_after(self.after_id, self.search)

    def variables(self, first: int) -> Variables:
        """Return the variables of a query for the next `first` products."""
        return {"first": first, "after": self.after, "query": self.query}

    def advanced(self, info: PageInfo, ids: Iterable[int]) -> PageCursor:
        """Return the position after a page of these ids."""
        return replace(self, after=info.end_cursor or self.after, last_id=max(ids, default=self.last_id))

    def without_graphql_cursor(self, error: InvalidCursor) -> PageCursor:
        """Return the same position expressed by the last id. Raises `error` when that id is not known."""
        if not self.after or not self.last_id:
            raise error
        return PageCursor(self.search, after_id=self.last_id)


@dataclass(frozen=True, kw_only=True, slots=True)
class ProductPage:
    """Products in id order, without those that disappeared while they were read."""

    records: tuple[Record, ...]
    end: PageCursor
    """The position after this page."""
    has_next: bool


class ProductPages:
    """Reads pages of complete products."""

    def __init__(
        self, client: ShopifyClient, *, inventory: bool, max_page_size: int, retry_delay: timedelta
    ) -> None:
        self._client = client
        self._query = product_page(inventory=inventory)
        self._variant_drain = VariantDrain(client, inventory=inventory, retry_delay=retry_delay)
        self._page_size = PageSize(max_page_size, retry_delay=retry_delay)
        self._consecutive_unreadable = 0

    async def read_from(self, cursor: PageCursor) -> AsyncGenerator[ProductPage, None]:
        """Read all pages from `cursor` on.

        At most one page is prefetched while the caller consumes its predecessor; closing the generator cancels
        the prefetch.
        """
        prefetch: asyncio.Task[ProductPage] | None = asyncio.create_task(self._load(cursor))
        try:
            while prefetch is not None:
                page = await prefetch
                prefetch = asyncio.create_task(self._load(page.end)) if page.has_next else None
                yield page
        finally:
            if prefetch is not None:
                await cancel_prefetches(prefetch)

    async def _load(self, cursor: PageCursor) -> ProductPage:
        try:
            return await self._load_at(cursor)
        except InvalidCursor as error:
            return await self._load_at(cursor.without_graphql_cursor(error))

    async def _load_at(self, cursor: PageCursor) -> ProductPage:
        try:
            response = await self._page_size.call(partial(self._call, self._query, cursor))
        except (MaxCostExceeded, ShopifyInternalError):
            return await self._load_single(cursor)
        self._consecutive_unreadable = 0
        nodes, info = self._decode(response)
        records = [await self._variant_drain.complete(to_record(node)) for node in nodes]
        end = cursor.advanced(info, (int(node.product_id) for node in nodes if node.product_id))
        return self._page(cursor, end, records, info.has_next_page)

    async def _load_single(self, cursor: PageCursor) -> ProductPage:
        """Load a page of only the next product, by its id, since no page that contains it can be read."""
        self._consecutive_unreadable += 1
        if self._consecutive_unreadable > MAX_CONSECUTIVE_UNREADABLE:
            raise internal_error(self._client.shop)
        response = await self._client.call_or_fail(PRODUCT_IDS, cursor.variables(1))
        ids = self._client.decode(response, _IDS).products
        product_ids = [numeric_id(node.id, "Product") for node in ids.nodes]
        records = [await self._variant_drain.read_product(product_id) for product_id in product_ids if product_id]
        end = cursor.advanced(ids.page_info, (int(product_id) for product_id in product_ids if product_id))
        return self._page(cursor, end, records, ids.page_info.has_next_page)

    async def _call(self, query: Query, cursor: PageCursor, first: int) -> GraphqlResponse:
        return await self._client.call(query, cursor.variables(first))

    def _decode(self, response: GraphqlResponse) -> tuple[list[DecodedNode], PageInfo]:
        try:
            return decode_page(response.data or msgspec.Raw(b"null"), response.errors)
        except (msgspec.DecodeError, RecursionError) as error:
            raise SourceResponseInvalid(self._client.shop, "a page that does not follow the schema") from error

    def _page(
        self, cursor: PageCursor, end: PageCursor, records: Sequence[Record | None], has_next: bool
    ) -> ProductPage:
        if has_next and end.after == cursor.after:
            raise SourceQueryRefused(self._client.shop, "the next page begins where this one did")
        return ProductPage(
            records=tuple(record for record in records if record is not None), end=end, has_next=has_next
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class IdPage:
    """One page of product gids."""

    gids: tuple[str, ...]
    end: PageCursor
    """The position after this page."""
    has_next: bool


class IdListing:
    """Lists the ids of the products that a search finds, in id order: 250 for 13 points."""

    def __init__(self, client: ShopifyClient, *, max_page_size: int, retry_delay: timedelta) -> None:
        self._client = client
        self._page_size = PageSize(max_page_size, retry_delay=retry_delay)

    async def load(self, cursor: PageCursor) -> IdPage:
        """Load the page that begins at `cursor`. Raises SourceFailure."""
        try:
            return await self._load_at(cursor)
        except InvalidCursor as error:
            return await self._load_at(cursor.without_graphql_cursor(error))

    async def _load_at(self, cursor: PageCursor) -> IdPage:
        try:
            response = await self._page_size.call(partial(self._call, cursor))
        except (ShopifyInternalError, MaxCostExceeded) as error:
            raise internal_error(self._client.shop) from error
        products = self._client.decode(response, _IDS).products
        info = products.page_info
        if info.has_next_page and info.end_cursor in {None, cursor.after}:
            raise SourceQueryRefused(self._client.shop, "the next page begins where this one did")
        gids = tuple(node.id for node in products.nodes)
        ids = (int(product_id) for gid in gids if (product_id := numeric_id(gid, "Product")))
        return IdPage(gids=gids, end=cursor.advanced(info, ids), has_next=info.has_next_page)

    async def _call(self, cursor: PageCursor, first: int) -> GraphqlResponse:
        return await self._client.call(PRODUCT_IDS, cursor.variables(first))


async def cancel_prefetches(*tasks: asyncio.Task[ProductPage] | asyncio.Task[IdPage]) -> None:
    """Cancel tasks, wait until they have ended and discard their exceptions."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.exception()
