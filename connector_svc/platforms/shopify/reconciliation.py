"""Finds products that Shopify lists and the pass has not delivered, and reads them by id.

A pass whose count changed while it ran cannot be checked by numbers: a product that was deleted after its delivery
makes up for one that was never delivered. So all ids are listed once more, 13 points per 250, and compared with
the delivered ones.
"""

from __future__ import annotations

import asyncio
import logging
from array import array
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import timedelta

from connector_svc.domain.errors import SourceCountMismatch
from connector_svc.domain.fetch import Batch
from connector_svc.platforms.shopify.batch_builder import BatchBuilder
from connector_svc.platforms.shopify.client import ShopifyClient
from connector_svc.platforms.shopify.hydration import ProductsById
from connector_svc.platforms.shopify.pages import IdListing, PageCursor
from connector_svc.platforms.shopify.queries import PAGE_PRODUCTS
from connector_svc.platforms.shopify.wire import numeric_id, product_gid

_MAX_LISTINGS = 2
"""A listing that is shorter than the count is repeated: products may have been deleted since."""

_log = logging.getLogger(__name__)


class TooManyChanges(Exception):
    """So much was deleted since the pass was resumed that what is missing cannot be determined: restart it."""


class Reconciliation:
    """The end of a pass whose count changed."""

    def __init__(
        self,
        client: ShopifyClient,
        builder: BatchBuilder,
        products: ProductsById,
        *,
        search: str | None,
        count: Callable[[], Awaitable[int]],
        retry_delay: timedelta,
    ) -> None:
        self._client = client
        self._builder = builder
        self._products = products
        self._search = search
        self._count = count
        self._id_listing = IdListing(client, max_page_size=PAGE_PRODUCTS, retry_delay=retry_delay)

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """Yield the missing products.

        Raises:
            SourceCountMismatch: Fewer ids are listed than counted.
            TooManyChanges: The missing products cannot be determined.
            SourceFailure: The shop cannot be read.
        """
        for _ in range(_MAX_LISTINGS):
            listed = await self._list_ids()
            missing = await asyncio.to_thread(self._builder.delivered.missing, listed)
            if missing is None:
                raise TooManyChanges
            async with aclosing(self._read(missing)) as batches:
                async for batch in batches:
                    yield batch
            count = await self._count()
            if len(listed) >= count:
                return
        raise SourceCountMismatch(self._client.shop, expected=count, received=len(listed))

    async def _list_ids(self) -> array[int]:
        ids = array("Q")
        cursor = PageCursor(self._search)
        has_next = True
        while has_next:
            page = await self._id_listing.load(cursor)
            cursor, has_next = page.end, page.has_next
            ids.extend(int(product_id) for gid in page.gids if (product_id := numeric_id(gid, "Product")))
        return ids

    async def _read(self, missing: Sequence[int]) -> AsyncGenerator[Batch, None]:
        if missing:
            shop = str(self._client.shop)
            _log.info("reading missing products by id", extra={"shop": shop, "products": len(missing)})
        for start in range(0, len(missing), PAGE_PRODUCTS):
            gids = [product_gid(str(product_id)) for product_id in missing[start : start + PAGE_PRODUCTS]]
            records = [record for record in await self._products.read(gids) if record is not None]
            for batch in self._builder.out_of_order_batches(records):
                yield batch
