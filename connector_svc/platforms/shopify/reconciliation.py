"""Finds products that the platform lists and the pass has not delivered, and reads them by their ids.

A pass whose count moved while it ran cannot be judged by numbers: a product that was deleted after it came makes
up for one that never came. So all ids are listed once more, 13 points per 250, and compared with those delivered.
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

_LISTINGS = 2
"""A listing that is shorter than the count is made once more: products may have been deleted since."""

_log = logging.getLogger(__name__)


class TooManyChanges(Exception):
    """More was deleted since the pass was resumed than can be told apart: it must be read anew."""


class Reconciliation:
    """The end of a pass whose count moved."""

    def __init__(
        self,
        client: ShopifyClient,
        tally: BatchBuilder,
        hydrator: ProductsById,
        *,
        search: str | None,
        count: Callable[[], Awaitable[int]],
        pause: timedelta,
    ) -> None:
        self._client = client
        self._tally = tally
        self._hydrator = hydrator
        self._search = search
        self._count = count
        self._sweep = IdListing(client, largest=PAGE_PRODUCTS, pause=pause)

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """What is missing.

        Raises SourceFailure, SourceCountMismatch when fewer ids are listed than counted, and TooManyChanges.
        """
        for _ in range(_LISTINGS):
            listed = await self._listed()
            missing = await asyncio.to_thread(self._tally.delivered.missing, listed)
            if missing is None:
                raise TooManyChanges
            async with aclosing(self._read(missing)) as batches:
                async for batch in batches:
                    yield batch
            count = await self._count()
            if len(listed) >= count:
                return
        raise SourceCountMismatch(self._client.shop, expected=count, received=len(listed))

    async def _listed(self) -> array[int]:
        found = array("Q")
        place = PageCursor(self._search)
        has_next = True
        while has_next:
            swept = await self._sweep.load(place)
            place, has_next = swept.end, swept.has_next
            found.extend(int(number) for gid in swept.gids if (number := numeric_id(gid, "Product")))
        return found

    async def _read(self, missing: Sequence[int]) -> AsyncGenerator[Batch, None]:
        if missing:
            shop = str(self._client.shop)
            _log.info("products are read out of turn", extra={"shop": shop, "products": len(missing)})
        for start in range(0, len(missing), PAGE_PRODUCTS):
            gids = [product_gid(str(number)) for number in missing[start : start + PAGE_PRODUCTS]]
            records = [record for record in await self._hydrator.read(gids) if record is not None]
            for batch in self._tally.late(records):
                yield batch
