"""Sweep and hydrate: lists the ids page by page, and reads the products of each page by their ids."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import timedelta

from connector_svc.platforms.shopify.client import ShopifyClient
from connector_svc.platforms.shopify.hydrator import DoesNotPay, Hydrator
from connector_svc.platforms.shopify.pages import Page, Pages, Place
from connector_svc.platforms.shopify.sweep import Sweep, Swept

_AT_ONCE = 3
"""Pages of products that are read at the same time: enough to spend 100 points a second at a second per reply."""

_log = logging.getLogger(__name__)


class Hydration:
    """The pages of one pass, like `Pages`: same products, same order, same places.

    Shopify does not multiply the cost of `nodes(ids:)` by the number of ids, as far as recorded replies show; that
    makes this several times cheaper than pages. Nobody promises it, so each reported cost is looked at, and as
    soon as it does not pay, the rest is read by pages.
    """

    def __init__(self, client: ShopifyClient, *, inventory: bool, largest: int, pause: timedelta) -> None:
        self._sweep = Sweep(client, largest=largest, pause=pause)
        self._hydrator = Hydrator(client, inventory=inventory, largest=largest, pause=pause)
        self._pages = Pages(client, inventory=inventory, largest=largest, pause=pause)

    @property
    def pays(self) -> bool:
        """Whether the costs reported so far speak for it."""
        return self._hydrator.pays

    async def from_place(self, place: Place) -> AsyncGenerator[Page, None]:
        """Every page from `place` on. Three pages are held ahead at most; closing it cancels their loads."""
        done = place
        try:
            async with aclosing(self._hydrated(place)) as pages:
                async for page in pages:
                    yield page
                    done = page.end
                    if not page.has_next:
                        return
        except DoesNotPay:
            _log.info("products are read by pages: reading them by their ids costs more")
        async with aclosing(self._pages.from_place(done)) as pages:
            async for page in pages:
                yield page

    async def _hydrated(self, place: Place) -> AsyncGenerator[Page, None]:
        """In the order of the sweep. Raises DoesNotPay when pages should go on behind the last one yielded."""
        if not self.pays:
            raise DoesNotPay
        loading: deque[asyncio.Task[Page]] = deque()
        sweep: asyncio.Task[Swept] | None = asyncio.create_task(self._sweep.load(place))
        try:
            while sweep is not None or loading:
                while sweep is not None and self.pays and len(loading) < self._width:
                    swept = await sweep
                    sweep = asyncio.create_task(self._sweep.load(swept.end)) if swept.has_next else None
                    loading.append(asyncio.create_task(self._hydrator.load(swept)))
                if not loading:
                    raise DoesNotPay
                page = await loading[0]
                loading.popleft()
                yield page
        finally:
            await _cancelled(*loading, *([sweep] if sweep is not None else []))

    @property
    def _width(self) -> int:
        """The first page goes alone: its reported cost tells whether more should follow."""
        return _AT_ONCE if self._hydrator.has_told_cost else 1


async def _cancelled(*tasks: asyncio.Task[Page] | asyncio.Task[Swept]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.exception()
