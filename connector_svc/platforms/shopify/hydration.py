"""Reads products by id: those of an id listing ("list and hydrate"), missing ones, and those a request names.

Shopify does not multiply the cost of `nodes(ids:)` by the number of ids, as far as recorded replies show; that
makes it several times cheaper than pages of products. Shopify does not promise it, so each reported cost is
compared, and as soon as hydration is not cheaper, the rest is read by pages.
"""

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
from connector_svc.domain.records import IssueReason
from connector_svc.platforms.shopify.batch_builder import BatchBuilder
from connector_svc.platforms.shopify.client import ShopifyClient
from connector_svc.platforms.shopify.error_mapping import MaxCostExceeded, ShopifyInternalError, internal_error
from connector_svc.platforms.shopify.graphql_response import GraphqlResponse
from connector_svc.platforms.shopify.node_decoding import DecodedNode, decode_nodes
from connector_svc.platforms.shopify.page_size import PageSize
from connector_svc.platforms.shopify.pages import (
    MAX_CONSECUTIVE_UNREADABLE,
    IdListing,
    IdPage,
    PageCursor,
    ProductPage,
    ProductPages,
    cancel_prefetches,
)
from connector_svc.platforms.shopify.parse import Record, to_record
from connector_svc.platforms.shopify.queries import PRODUCT_IDS, product_page, products_by_id
from connector_svc.platforms.shopify.variant_drain import VariantDrain
from connector_svc.platforms.shopify.wire import numeric_id, product_gid

_CONCURRENT_PAGES = 3
"""Enough to spend 100 points a second when a reply takes a second."""

_log = logging.getLogger(__name__)


class HydrationTooExpensive(Exception):
    """Reading products by id costs more than reading a page of products. Never leaves this package."""


class ProductsById:
    """Reads products by id, and tracks whether that is cheaper than pages of products."""

    def __init__(
        self,
        client: ShopifyClient,
        *,
        inventory: bool,
        max_page_size: int,
        retry_delay: timedelta,
        can_fall_back: bool = True,
    ) -> None:
        """`can_fall_back`: raise HydrationTooExpensive instead of reducing the number of ids."""
        self.is_cheaper = True
        """Whether the last reported cost was below that of a page of products."""
        self.is_cost_known = False
        """Whether a cost has been reported yet."""
        self._client = client
        self._query = products_by_id(inventory=inventory)
        self._page_query = product_page(inventory=inventory)
        self._max_page_size = max_page_size
        self._variant_drain = VariantDrain(client, inventory=inventory, retry_delay=retry_delay)
        self._page_size = PageSize(max_page_size, retry_delay=retry_delay)
        self._consecutive_unreadable = 0
        self._can_fall_back = can_fall_back

    async def load(self, ids: IdPage) -> ProductPage:
        """Read the products of a page of ids in their order, without those that have been deleted meanwhile.

        Raises:
            SourceFailure: The shop cannot be read.
            HydrationTooExpensive: Shopify rejected the query as too expensive.
        """
        records = await self.read(ids.gids)
        return ProductPage(
            records=tuple(record for record in records if record is not None), end=ids.end, has_next=ids.has_next
        )

    async def read(self, gids: Sequence[str]) -> list[Record | None]:
        """Read the product of each id; None: there is none.

        A null is requested again in a call of its own: Shopify also answers null for a product that it fails to
        find in time.

        Raises:
            SourceFailure: The shop cannot be read.
            HydrationTooExpensive: Shopify rejected the query as too expensive.
        """
        records = await self._read_all(gids)
        absent = [gid for gid, record in zip(gids, records, strict=True) if record is None]
        if not absent:
            return records
        reread = dict(zip(absent, await self._read_all(absent), strict=True))
        return [reread[gid] if record is None else record for gid, record in zip(gids, records, strict=True)]

    async def _read_all(self, gids: Sequence[str]) -> list[Record | None]:
        records: list[Record | None] = []
        while len(records) < len(gids):
            records += await self._read_first(gids[len(records) :])
        return records

    async def _read_first(self, gids: Sequence[str]) -> list[Record | None]:
        """Read the first of these products, as many as Shopify can serve in one call."""
        try:
            response = await self._page_size.call(partial(self._call, gids))
        except (ShopifyInternalError, MaxCostExceeded):
            return [await self._read_single(gids[0])]
        self._consecutive_unreadable = 0
        nodes = self._decode(response)
        if not 0 < len(nodes) <= len(gids):
            raise SourceResponseInvalid(self._client.shop, "products that were not requested")
        return [await self._complete(node, gid) for node, gid in zip(nodes, gids, strict=False)]

    async def _complete(self, node: DecodedNode | None, gid: str) -> Record | None:
        if node is None:
            return None
        # A node that is null because of an error has no id of its own.
        identified = msgspec.structs.replace(node, product_id=node.product_id or numeric_id(gid, "Product"))
        return await self._variant_drain.complete(to_record(identified))

    async def _read_single(self, gid: str) -> Record | None:
        self._consecutive_unreadable += 1
        product_id = numeric_id(gid, "Product")
        if self._consecutive_unreadable > MAX_CONSECUTIVE_UNREADABLE or not product_id:
            raise internal_error(self._client.shop)
        return await self._variant_drain.read_product(product_id)

    async def _call(self, gids: Sequence[str], count: int) -> GraphqlResponse:
        try:
            response = await self._client.call(self._query, {"ids": list(gids[:count])})
        except MaxCostExceeded:
            self.is_cheaper = False
            if not self._can_fall_back:
                raise
            raise HydrationTooExpensive from None
        if response.cost.requested_query_cost is not None:
            self._compare_cost(response.cost.requested_query_cost)
        return response

    def _compare_cost(self, cost: float) -> None:
        """Compare with a page of the maximum size, which is requested even when fewer products are left."""
        listing_cost = self._client.cost_of(PRODUCT_IDS, self._max_page_size)
        self.is_cost_known = True
        self.is_cheaper = cost + listing_cost <= self._client.cost_of(self._page_query, self._max_page_size)

    def _decode(self, response: GraphqlResponse) -> list[DecodedNode | None]:
        try:
            return decode_nodes(response.data or msgspec.Raw(b"null"), response.errors)
        except (msgspec.DecodeError, RecursionError) as error:
            raise SourceResponseInvalid(self._client.shop, "products that do not follow the schema") from error


class HydratedPages:
    """Lists ids page by page and reads the products of each page by id.

    Has the interface of `ProductPages`: the same products, in the same order, with the same cursors.
    """

    def __init__(
        self, client: ShopifyClient, *, inventory: bool, max_page_size: int, retry_delay: timedelta
    ) -> None:
        self._id_listing = IdListing(client, max_page_size=max_page_size, retry_delay=retry_delay)
        self._products = ProductsById(
            client, inventory=inventory, max_page_size=max_page_size, retry_delay=retry_delay
        )
        self._product_pages = ProductPages(
            client, inventory=inventory, max_page_size=max_page_size, retry_delay=retry_delay
        )

    @property
    def is_cheaper(self) -> bool:
        """Whether the costs reported so far are below those of pages of products."""
        return self._products.is_cheaper

    async def read_from(self, cursor: PageCursor) -> AsyncGenerator[ProductPage, None]:
        """Read all pages from `cursor` on.

        At most three pages are prefetched; closing the generator cancels the prefetches.
        """
        end = cursor
        try:
            async with aclosing(self._hydrate(cursor)) as pages:
                async for page in pages:
                    yield page
                    end = page.end
                    if not page.has_next:
                        return
        except HydrationTooExpensive:
            _log.info("reading products by pages: reading them by id costs more")
        async with aclosing(self._product_pages.read_from(end)) as pages:
            async for page in pages:
                yield page

    async def _hydrate(self, cursor: PageCursor) -> AsyncGenerator[ProductPage, None]:
        """Yield pages in the order of the listing.

        Raises:
            HydrationTooExpensive: The rest should be read by pages, after the last page that was yielded.
        """
        if not self.is_cheaper:
            raise HydrationTooExpensive
        loading: deque[asyncio.Task[ProductPage]] = deque()
        listing: asyncio.Task[IdPage] | None = asyncio.create_task(self._id_listing.load(cursor))
        try:
            while listing is not None or loading:
                while listing is not None and self.is_cheaper and len(loading) < self._concurrency:
                    ids = await listing
                    listing = asyncio.create_task(self._id_listing.load(ids.end)) if ids.has_next else None
                    loading.append(asyncio.create_task(self._products.load(ids)))
                if not loading:
                    raise HydrationTooExpensive
                page = await loading[0]
                loading.popleft()
                yield page
        finally:
            await cancel_prefetches(*loading, *([listing] if listing is not None else []))

    @property
    def _concurrency(self) -> int:
        """One page until a cost is known, which decides whether more should follow."""
        return _CONCURRENT_PAGES if self._products.is_cost_known else 1


async def requested_products(
    products: ProductsById, builder: BatchBuilder, product_ids: Sequence[str]
) -> AsyncGenerator[Batch, None]:
    """Yield the products that a request names by at most 250 ids, then the ids of those that are deleted.

    What is not an id of Shopify is reported as deleted too. A product for which Shopify reports an error is in no
    batch: it is not known whether it exists.

    Raises:
        SourceFailure: The shop cannot be read.
    """
    valid_ids = [product_id for product_id in product_ids if _is_id(product_id)]
    gids = [product_gid(product_id) for product_id in valid_ids]
    records = dict(zip(valid_ids, await products.read(gids), strict=True))
    for batch in builder.out_of_order_batches(
        record for record in records.values() if record is not None and not _has_source_error(record)
    ):
        yield batch
    deleted = tuple(product_id for product_id in product_ids if records.get(product_id) is None)
    if deleted:
        yield Batch(products=(), checkpoint=builder.checkpoint(), deleted_product_ids=deleted)


def _is_id(text: str) -> bool:
    return bool(numeric_id(product_gid(text), "Product")) and not text.startswith("0")


def _has_source_error(record: Record) -> bool:
    return record.product is None and any(issue.reason is IssueReason.SOURCE_ERROR for issue in record.issues)
