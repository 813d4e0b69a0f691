"""Loads pages of whole products, each while its predecessor is being consumed.

Lists the ids of products, 250 for 13 points."""

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
from connector_svc.platforms.shopify.queries import PRODUCT_IDS, Query, behind, product_page
from connector_svc.platforms.shopify.variant_drain import VariantDrain
from connector_svc.platforms.shopify.wire import IdNode, PageData, PageInfo, numeric_id

_IDS = msgspec.json.Decoder(PageData[IdNode])
_UNREADABLE_IN_A_ROW = 5
"""So many products in a row that Shopify fails to deliver, and it is Shopify, not the products."""


@dataclass(frozen=True, slots=True)
class PageCursor:
    """Where a page begins."""

    search: str | None
    after: str | None = None
    """A cursor of the same query."""
    bound: int = 0
    """The query finds what `search` does behind this id."""
    last_id: int = 0
    """Of the product that the cursor stands behind; 0: not known."""

    @property
    def query(self) -> str | None:
        """What is searched for."""
        return behind(self.bound, self.search)

    def moved(self, info: PageInfo, ids: Iterable[int]) -> PageCursor:
        """Behind a page of these ids."""
        return replace(self, after=info.end_cursor or self.after, last_id=max(ids, default=self.last_id))

    def without(self, refused: InvalidCursor) -> PageCursor:
        """The same place by the id before it. Raises `refused` when that id is not known."""
        if not self.after or not self.last_id:
            raise refused
        return PageCursor(self.search, bound=self.last_id)


@dataclass(frozen=True, kw_only=True, slots=True)
class ProductPage:
    """Products in the order of their ids, those that vanished while they were read left out."""

    records: tuple[Record, ...]
    end: PageCursor
    """Behind this page."""
    has_next: bool


class ProductPages:
    """The pages of one pass."""

    def __init__(self, client: ShopifyClient, *, inventory: bool, largest: int, pause: timedelta) -> None:
        self._client = client
        self._query = product_page(inventory=inventory)
        self._completion = VariantDrain(client, inventory=inventory, pause=pause)
        self._size = PageSize(largest, pause=pause)
        self._unreadable = 0

    async def read_from(self, place: PageCursor) -> AsyncGenerator[ProductPage, None]:
        """Every page from `place` on. One page is loaded ahead, never more; closing it cancels that load."""
        ahead: asyncio.Task[ProductPage] | None = asyncio.create_task(self._load(place))
        try:
            while ahead is not None:
                page = await ahead
                ahead = asyncio.create_task(self._load(page.end)) if page.has_next else None
                yield page
        finally:
            if ahead is not None:
                await _abandon(ahead)

    async def _load(self, place: PageCursor) -> ProductPage:
        try:
            return await self._load_from(place)
        except InvalidCursor as refused:
            return await self._load_from(place.without(refused))

    async def _load_from(self, place: PageCursor) -> ProductPage:
        try:
            answer = await self._size.ask(partial(self._ask, self._query, place))
        except (MaxCostExceeded, ShopifyInternalError):
            return await self._load_alone(place)
        self._unreadable = 0
        found, info = self._nodes(answer)
        records = [await self._completion.finish(to_record(node)) for node in found]
        end = place.moved(info, (int(one.product_id) for one in found if one.product_id))
        return self._page(place, end, records, info.has_next_page)

    async def _load_alone(self, place: PageCursor) -> ProductPage:
        """A page of the one next product, asked for by id since no page with it can be had."""
        self._unreadable += 1
        if self._unreadable > _UNREADABLE_IN_A_ROW:
            raise internal_error(self._client.shop)
        try:
            answer = await self._ask(PRODUCT_IDS, place, 1)
        except (MaxCostExceeded, ShopifyInternalError) as error:
            raise internal_error(self._client.shop) from error
        ids = self._client.decoded(answer, _IDS).products
        numbers = [numeric_id(node.id, "Product") for node in ids.nodes]
        records = [await self._completion.read(number) for number in numbers if number]
        end = place.moved(ids.page_info, (int(number) for number in numbers if number))
        return self._page(place, end, records, ids.page_info.has_next_page)

    async def _ask(self, query: Query, place: PageCursor, first: int) -> GraphqlResponse:
        return await self._client.call(query, {"first": first, "after": place.after, "query": place.query})

    def _nodes(self, answer: GraphqlResponse) -> tuple[list[DecodedNode], PageInfo]:
        try:
            return decode_page(answer.data or msgspec.Raw(b"null"), answer.errors)
        except (msgspec.DecodeError, RecursionError) as error:
            raise SourceResponseInvalid(self._client.shop, "a page that does not follow the schema") from error

    def _page(
        self, place: PageCursor, end: PageCursor, records: Sequence[Record | None], has_next: bool
    ) -> ProductPage:
        if has_next and end.after == place.after:
            raise SourceQueryRefused(self._client.shop, "the next page begins where this one did")
        return ProductPage(records=tuple(one for one in records if one is not None), end=end, has_next=has_next)


async def _abandon(task: asyncio.Task[ProductPage]) -> None:
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()


_IDS = msgspec.json.Decoder(PageData[IdNode])


@dataclass(frozen=True, kw_only=True, slots=True)
class IdPage:
    """One page of ids."""

    gids: tuple[str, ...]
    end: PageCursor
    """Behind this page."""
    has_next: bool


class IdListing:
    """The ids that a search finds, in their order."""

    def __init__(self, client: ShopifyClient, *, largest: int, pause: timedelta) -> None:
        self._client = client
        self._size = PageSize(largest, pause=pause)

    async def load(self, place: PageCursor) -> IdPage:
        """The page that begins at `place`. Raises SourceFailure."""
        try:
            return await self._load_from(place)
        except InvalidCursor as refused:
            return await self._load_from(place.without(refused))

    async def _load_from(self, place: PageCursor) -> IdPage:
        try:
            answer = await self._size.ask(partial(self._ask, place))
        except (ShopifyInternalError, MaxCostExceeded) as error:
            raise internal_error(self._client.shop) from error
        products = self._client.decoded(answer, _IDS).products
        info = products.page_info
        if info.has_next_page and info.end_cursor in {None, place.after}:
            raise SourceQueryRefused(self._client.shop, "the next page begins where this one did")
        gids = tuple(node.id for node in products.nodes)
        return IdPage(
            gids=gids,
            end=place.moved(info, (int(number) for gid in gids if (number := numeric_id(gid, "Product")))),
            has_next=info.has_next_page,
        )

    async def _ask(self, place: PageCursor, first: int) -> GraphqlResponse:
        return await self._client.call(PRODUCT_IDS, {"first": first, "after": place.after, "query": place.query})
