"""Where a pass over products begins, and the first of them: all that this takes is asked for at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

from connector_svc.domain.fetch import FetchRequest
from connector_svc.platforms.woocommerce.prefetch import Ahead, ended
from connector_svc.platforms.woocommerce.batch_loader import variable
from connector_svc.platforms.woocommerce.client import StoreClient
from connector_svc.platforms.woocommerce.loading import Loaded, loaded
from connector_svc.platforms.woocommerce.position import Phase, Position
from connector_svc.platforms.woocommerce.product_pager import Listed, Place, ProductPager
from connector_svc.platforms.woocommerce.routes import Route
from connector_svc.platforms.woocommerce.variations import VariationLists
from connector_svc.platforms.woocommerce.window import since


class Start:
    """Under way as soon as it is made."""

    def __init__(
        self, request: FetchRequest, client: StoreClient, clock: Callable[[], datetime], stored: Position | None
    ) -> None:
        """`stored`: where a pass goes on; None: it begins, and takes everything."""
        self._stored = stored
        self._most_products = request.max_batch_products
        self._our_time, self._began = clock().astimezone(UTC), time.monotonic()
        self._lists = VariationLists(client, stored.route if stored else Route.OFFICIAL)
        place = Place(last_id=stored.last_id, offset=stored.offset) if stored else Place()
        self.pager = ProductPager(client, since(request.updated_after), place, locate=True)
        self._pages = Ahead(self.pager.pages())
        self._probe = asyncio.create_task(self._lists.probe()) if stored is None else None
        self.position = asyncio.create_task(self._settled())
        """Raises SourceFailure."""
        self.loaded = Ahead(self._loaded())
        """The products from there. Raises SourceFailure."""

    async def aclose(self) -> None:
        """Ends all of it."""
        await self.loaded.aclose()
        await ended(self.position)
        if self._probe is not None:
            await ended(self._probe)
        await self._pages.aclose()

    async def _settled(self) -> Position:
        if self._stored is not None:
            return self._stored
        assert self._probe is not None
        first = await self._pages.peek()
        variations = await self._probe
        return Position(
            watermark=self._watermark(),
            route=self._lists.route,
            phase=Phase.PRODUCTS,
            estimated_products=self.pager.total,
            estimated_items=_items(self.pager.total, first or (), variations),
        )

    def _watermark(self) -> datetime:
        """The store's clock when it was asked for the first page, or a little before."""
        told = self.pager.began_at
        return told - timedelta(seconds=time.monotonic() - self._began) if told else self._our_time

    async def _loaded(self) -> AsyncGenerator[Loaded, None]:
        # Variations wait until it is known where they are listed.
        await asyncio.wait([self.position])
        async with aclosing(loaded(self._pages, self._lists, self._most_products)) as entries:
            async for entry in entries:
                yield entry


def _items(total: int | None, first: tuple[Listed, ...], variations: int | None) -> int | None:
    """About how many items there are, if the first products are like the others.

    Variations whose product is gone are counted, too.
    """
    if total is None or variations is None:
        return None
    parents = round(total * len(variable(first)) / len(first)) if first else 0
    return total - parents + variations
