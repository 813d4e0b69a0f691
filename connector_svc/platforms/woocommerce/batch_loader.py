"""Plan batches of products and load their variations ahead of the consumer.

1. `plan_batches` groups products up to one round of variation requests and the size of one message.
2. `load_batches` reads the variations of the next batch while the last one is consumed.
3. `PassStart` does both from the position where a pass starts, together with everything else that the start needs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from connector_svc.domain.fetch import FetchRequest
from connector_svc.platforms.woocommerce.client import StoreClient
from connector_svc.platforms.woocommerce.position import Phase, Position
from connector_svc.platforms.woocommerce.prefetch import Prefetch, cancel_tasks, map_ordered
from connector_svc.platforms.woocommerce.product_pager import (
    Cursor,
    ListedProduct,
    ProductPager,
    modified_since,
)
from connector_svc.platforms.woocommerce.variation_group import EMPTY_GROUP, VariationGroup
from connector_svc.platforms.woocommerce.variations import VariationReader
from connector_svc.platforms.woocommerce.wire import ProductRow, VariationRoute

_MAX_BATCH_VARIATIONS: Final = 500
"""Five full pages; more would only delay the first products."""
_MAX_BATCH_BYTES: Final = 700 * 1024
"""Estimated size of the message that the products become, which must stay below 1 MiB."""
_PRODUCT_BYTES: Final = 600
_VARIANT_BYTES: Final = 450
_IMAGE_BYTES: Final = 200
_VALUE_BYTES: Final = 40
_MAX_PENDING_BATCHES: Final = 2
"""Ready or in progress: the variations of the second batch are requested before those of the first are complete,
so that no slot of the concurrency limiter stays free between them."""


class LoadedBatch(NamedTuple):
    """Products in the order of the pages, and the variation groups of the variable ones by product id."""

    products: Sequence[ListedProduct]
    groups: Mapping[int, VariationGroup]

    def group_of(self, product: ListedProduct) -> VariationGroup:
        """Return the variation group of one of the products; empty for a product that is not variable."""
        return self.groups.get(product.record.id or 0, EMPTY_GROUP)


async def plan_batches(
    pages: AsyncIterator[tuple[ListedProduct, ...]], *, max_products: int
) -> AsyncGenerator[tuple[ListedProduct, ...], None]:
    """Yield the products of `pages` in order, grouped; a product that alone exceeds the limits is a batch."""
    pending: list[ListedProduct] = []
    variations = size_bytes = 0
    async for page in pages:
        for product in page:
            more_variations, more_bytes = _variation_count(product), _estimate_bytes(product)
            exceeds = (
                variations + more_variations > _MAX_BATCH_VARIATIONS or size_bytes + more_bytes > _MAX_BATCH_BYTES
            )
            if pending and exceeds:
                yield tuple(pending)
                pending, variations, size_bytes = [], 0, 0
            pending.append(product)
            variations += more_variations
            size_bytes += more_bytes
            if len(pending) >= max_products or variations >= _MAX_BATCH_VARIATIONS:
                # The batch is full: do not wait for the next page.
                yield tuple(pending)
                pending, variations, size_bytes = [], 0, 0
    if pending:
        yield tuple(pending)


def variable_products(products: Sequence[ListedProduct]) -> tuple[ProductRow, ...]:
    """Return the rows of the products that are sold as variations."""
    rows = (product.record for product in products)
    return tuple(row for row in rows if isinstance(row, ProductRow) and row.is_variable())


def _variation_count(product: ListedProduct) -> int:
    return len(product.record.child_ids()) if isinstance(product.record, ProductRow) else 0


def _estimate_bytes(product: ListedProduct) -> int:
    if not isinstance(product.record, ProductRow):
        return _PRODUCT_BYTES
    row = product.record
    option_values = sum(len(attribute.options) for attribute in row.attributes)
    text_bytes = 2 * len(row.description) + _VALUE_BYTES * option_values
    variant_bytes = _VARIANT_BYTES * max(_variation_count(product), 1)
    return _PRODUCT_BYTES + text_bytes + _IMAGE_BYTES * len(row.images) + variant_bytes


async def load_batches(
    pages: AsyncIterator[tuple[ListedProduct, ...]], variations: VariationReader, max_products: int
) -> AsyncGenerator[LoadedBatch, None]:
    """Yield all products of `pages` with their variations. Raise SourceFailure."""

    async def read_groups(products: Sequence[ListedProduct]) -> Mapping[int, VariationGroup]:
        return await variations.read_groups(variable_products(products))

    async with (
        aclosing(plan_batches(pages, max_products=max_products)) as planned,
        aclosing(map_ordered(planned, read_groups, max_pending=_MAX_PENDING_BATCHES)) as loaded,
    ):
        async for products, groups in loaded:
            yield LoadedBatch(products, groups)


async def load_all(
    pager: ProductPager, variations: VariationReader, *, max_products: int
) -> AsyncGenerator[LoadedBatch, None]:
    """Yield all products of `pager` with their variations; pages are read ahead. Raise SourceFailure."""
    async with (
        aclosing(Prefetch(pager.pages())) as pages,
        aclosing(load_batches(pages, variations, max_products)) as batches,
    ):
        async for batch in batches:
            yield batch


class PassStart:
    """Starts reading products: the first page, the variation route and the first variations, concurrently.

    All requests start when the object is created.
    """

    def __init__(
        self, request: FetchRequest, client: StoreClient, clock: Callable[[], datetime], stored: Position | None
    ) -> None:
        """Start the requests.

        Args:
            stored: Where a resumed pass continues; None: a new full pass.
        """
        self._stored = stored
        self._max_products = request.max_batch_products
        self._started_at, self._started_monotonic = clock().astimezone(UTC), time.monotonic()
        self._variations = VariationReader(client, stored.route if stored else VariationRoute.OFFICIAL)
        cursor = Cursor(last_id=stored.last_id, offset=stored.offset) if stored else Cursor()
        self.pager = ProductPager(client, modified_since(request.updated_after), cursor, locate_missing=True)
        self._pages = Prefetch(self.pager.pages())
        self._probe = asyncio.create_task(self._variations.probe()) if stored is None else None
        self.position = asyncio.create_task(self._find_position())
        """Raises SourceFailure."""
        self.batches = Prefetch(self._load_batches())
        """The products from there on. Raises SourceFailure."""

    async def aclose(self) -> None:
        """Cancel all requests."""
        await self.batches.aclose()
        await cancel_tasks(self.position)
        if self._probe is not None:
            await cancel_tasks(self._probe)
        await self._pages.aclose()

    async def _find_position(self) -> Position:
        if self._stored is not None:
            return self._stored
        assert self._probe is not None
        first_page = await self._pages.peek()
        variation_count = await self._probe
        return Position(
            watermark=self._watermark(),
            route=self._variations.route,
            phase=Phase.PRODUCTS,
            estimated_products=self.pager.total,
            estimated_items=_estimate_items(self.pager.total, first_page or (), variation_count),
        )

    def _watermark(self) -> datetime:
        """Return the store's time when the first page was requested, or a little before."""
        began_at = self.pager.began_at
        if began_at is None:
            return self._started_at
        return began_at - timedelta(seconds=time.monotonic() - self._started_monotonic)

    async def _load_batches(self) -> AsyncGenerator[LoadedBatch, None]:
        # Variations are requested only once their route is known.
        await asyncio.wait([self.position])
        async with aclosing(load_batches(self._pages, self._variations, self._max_products)) as batches:
            async for batch in batches:
                yield batch


def _estimate_items(
    total: int | None, first_page: tuple[ListedProduct, ...], variation_count: int | None
) -> int | None:
    """Return about how many items there are, assuming that the first page is representative.

    Variations whose product is gone are counted, too.
    """
    if total is None or variation_count is None:
        return None
    parents = round(total * len(variable_products(first_page)) / len(first_page)) if first_page else 0
    return total - parents + variation_count
