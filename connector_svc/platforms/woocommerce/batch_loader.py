"""Products gathered until they are worth a round of variation calls and fit one message.

Products with their variations, read ahead: the next are asked for while the last are consumed.

Where a pass over products begins, and the first of them: all that this takes is asked for at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias

from connector_svc.domain.fetch import FetchRequest
from connector_svc.platforms.woocommerce.client import StoreClient
from connector_svc.platforms.woocommerce.position import Phase, Position
from connector_svc.platforms.woocommerce.prefetch import Ahead, ended, in_order
from connector_svc.platforms.woocommerce.product_pager import Listed, Place, ProductPager, since
from connector_svc.platforms.woocommerce.variation_group import Family
from connector_svc.platforms.woocommerce.variations import VariationLists
from connector_svc.platforms.woocommerce.wire import ProductRow, Route

_MOST_VARIATIONS: Final = 500
"""Five full calls; more would only hold the first products back."""
_MOST_BYTES: Final = 700 * 1024
"""Estimated, of the message that the products become, which must stay below 1 MiB."""
_PRODUCT_BYTES: Final = 600
_VARIANT_BYTES: Final = 450
_IMAGE_BYTES: Final = 200
_VALUE_BYTES: Final = 40


async def chunks(
    pages: AsyncIterator[tuple[Listed, ...]], *, most_products: int
) -> AsyncGenerator[tuple[Listed, ...], None]:
    """Yields the products of `pages` in order; one too large for a chunk of its own limits stands alone."""
    pending: list[Listed] = []
    variations = size = 0
    async for page in pages:
        for listed in page:
            more, weight = _children(listed), _bytes(listed)
            if pending and (variations + more > _MOST_VARIATIONS or size + weight > _MOST_BYTES):
                yield tuple(pending)
                pending, variations, size = [], 0, 0
            pending.append(listed)
            variations += more
            size += weight
            if len(pending) >= most_products or variations >= _MOST_VARIATIONS:
                # Nothing more fits: the next page need not be waited for.
                yield tuple(pending)
                pending, variations, size = [], 0, 0
    if pending:
        yield tuple(pending)


def variable(chunk: Sequence[Listed]) -> tuple[ProductRow, ...]:
    """The products of `chunk` that are sold as variations."""
    rows = (listed.record for listed in chunk)
    return tuple(row for row in rows if isinstance(row, ProductRow) and row.is_variable())


def _children(listed: Listed) -> int:
    return len(listed.record.child_ids()) if isinstance(listed.record, ProductRow) else 0


def _bytes(listed: Listed) -> int:
    if not isinstance(listed.record, ProductRow):
        return _PRODUCT_BYTES
    row = listed.record
    text = 2 * len(row.description) + _VALUE_BYTES * sum(len(attribute.options) for attribute in row.attributes)
    return _PRODUCT_BYTES + text + _IMAGE_BYTES * len(row.images) + _VARIANT_BYTES * max(_children(listed), 1)


Loaded: TypeAlias = tuple[Sequence[Listed], Mapping[int, Family]]
"""Products in the order of the pages, and the families of the variable ones by product id."""
_MOST_CHUNKS: Final = 2
"""Ready or in the making: variations of the second are asked for before those of the first have all come, so that
no place at the store stays free between them."""


async def load(pager: ProductPager, lists: VariationLists, *, most_products: int) -> AsyncGenerator[Loaded, None]:
    """Everything that `pager` has. Raises SourceFailure."""
    async with aclosing(Ahead(pager.pages())) as pages, aclosing(loaded(pages, lists, most_products)) as entries:
        async for entry in entries:
            yield entry


async def loaded(
    pages: AsyncIterator[tuple[Listed, ...]], lists: VariationLists, most_products: int
) -> AsyncGenerator[Loaded, None]:
    """Everything that is on `pages`. Raises SourceFailure."""

    async def families(chunk: Sequence[Listed]) -> Mapping[int, Family]:
        return await lists.families(variable(chunk))

    async with (
        aclosing(chunks(pages, most_products=most_products)) as gathered,
        aclosing(in_order(gathered, families, most=_MOST_CHUNKS)) as entries,
    ):
        async for entry in entries:
            yield entry


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
