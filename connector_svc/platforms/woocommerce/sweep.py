"""What an incremental pass says of products that it does not read: thrown away, still there, and what is left.

Orders and imports change stock without a date, and what is deleted for good leaves no trace. So the sweep looks at
all products, and at all variations where the store lists those of many products at once, with few fields.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final

import msgspec

from connector_svc.domain.checkpoint import encode_checkpoint
from connector_svc.domain.errors import SourceQueryRefused
from connector_svc.domain.fetch import Batch, End, FetchRequest, Offer, StockLevel
from connector_svc.domain.records import InvalidRecord
from connector_svc.platforms.woocommerce.client import Params, StoreClient
from connector_svc.platforms.woocommerce.delivery import ProductDelivery
from connector_svc.platforms.woocommerce.family import NO_FAMILY, Family
from connector_svc.platforms.woocommerce.loading import load
from connector_svc.platforms.woocommerce.offer import compare_at_price_of, is_available, quantity
from connector_svc.platforms.woocommerce.position import FINGERPRINT, Closing, Position
from connector_svc.platforms.woocommerce.position import Listed as Seen
from connector_svc.platforms.woocommerce.products import PRODUCTS, Listed, Place, ProductPager
from connector_svc.platforms.woocommerce.values import price_of
from connector_svc.platforms.woocommerce.variations import VariationLists
from connector_svc.platforms.woocommerce.wire import (
    STOCK_FIELDS,
    VARIATION_STOCK_FIELDS,
    GoodsRow,
    ProductRow,
    VariationRow,
)

_log = logging.getLogger(__name__)
_TRASH: Final = ("status", "trash")
_NOT_ALL_LISTED: Final = (
    "The store did not list all products that it counts: this sync does not notice which were deleted for good."
)


class Sweep:
    """The first and the last phase of one incremental pass."""

    def __init__(self, request: FetchRequest, client: StoreClient, window: Params) -> None:
        self._request = request
        self._client = client
        self._window = window

    async def trash(self, position: Position) -> AsyncGenerator[tuple[Batch, Position], None]:
        """Yields what was thrown away in the window, with the positions after it. Raises SourceFailure."""
        pager = ProductPager(self._client, (_TRASH, *self._window), _place(position), fields=STOCK_FIELDS)
        try:
            async with aclosing(pager.pages()) as pages:
                async for page in pages:
                    position = _after(position, page)
                    yield self._batch(position, deleted_product_ids=_ids(page)), position
        except SourceQueryRefused:
            _log.info("%s: the trash cannot be listed; the sweep finds what is gone", self._client.shop)

    async def stock(
        self, position: Position, delivery: ProductDelivery
    ) -> AsyncGenerator[tuple[Batch, Position], None]:
        """Yields the stock, the price and the id of everything, then looks once more at what came meanwhile."""
        for _ in range(2):
            async with aclosing(self._levels(position, delivery)) as levels:
                async for batch, position in levels:
                    yield batch, position

    async def end(self, position: Position) -> End:
        """Says that all products were listed only if the store counts no more, and none was hidden."""
        total = (await self._client.count(PRODUCTS, ())).total
        listed, closing = position.listed, position.closing or Closing()
        all_listed = listed.whole and total is not None and listed.count >= total
        return End(
            source_count=closing.source_count,
            emitted_count=position.counts.emitted,
            rejected_count=position.counts.rejected,
            emitted_item_count=position.counts.emitted_items,
            warnings=closing.warnings,
            notes=closing.notes if all_listed else (*closing.notes, _NOT_ALL_LISTED),
            all_listed=all_listed,
        )

    async def _levels(
        self, position: Position, delivery: ProductDelivery
    ) -> AsyncGenerator[tuple[Batch, Position], None]:
        pager = ProductPager(self._client, (), _place(position), fields=STOCK_FIELDS)
        lists = VariationLists(self._client, position.route, fields=VARIATION_STOCK_FIELDS, bulk_only=True)
        async with aclosing(load(pager, lists, most_products=self._request.max_batch_products)) as loaded:
            async for chunk, families in loaded:
                ids = _ids(chunk)
                seen = Seen(count=position.listed.count + len(ids), whole=position.listed.whole and pager.whole)
                position = msgspec.structs.replace(_after(position, chunk), listed=seen)
                levels = tuple(_stock_levels(chunk, families))
                yield self._batch(position, listed_product_ids=ids, stock_levels=levels), position
                # Their date did not move, and only a whole product says which variations it has not.
                stale = [product_id for product_id, family in families.items() if family.removed]
                async with aclosing(delivery.given(stale, position)) as reread:
                    async for batch, _ in reread:
                        # They were counted when they were first delivered.
                        yield replace(batch, checkpoint=self._checkpoint(position)), position

    def _batch(
        self,
        position: Position,
        *,
        deleted_product_ids: tuple[str, ...] = (),
        listed_product_ids: tuple[str, ...] = (),
        stock_levels: tuple[StockLevel, ...] = (),
    ) -> Batch:
        return Batch(
            products=(),
            checkpoint=self._checkpoint(position),
            deleted_product_ids=deleted_product_ids,
            listed_product_ids=listed_product_ids,
            stock_levels=stock_levels,
        )

    def _checkpoint(self, position: Position) -> bytes:
        return encode_checkpoint(self._request, fingerprint=FINGERPRINT, position=position)


def _place(position: Position) -> Place:
    return Place(last_id=position.last_id, offset=position.offset)


def _after(position: Position, page: Sequence[Listed]) -> Position:
    place = page[-1].place
    return msgspec.structs.replace(position, last_id=place.last_id, offset=place.offset)


def _ids(page: Sequence[Listed]) -> tuple[str, ...]:
    return tuple(str(listed.record.id) for listed in page if listed.record.id is not None)


def _stock_levels(chunk: Sequence[Listed], families: Mapping[int, Family]) -> list[StockLevel]:
    levels: list[StockLevel | None] = []
    for listed in chunk:
        row = listed.record
        if not isinstance(row, ProductRow):
            continue
        published = row.status == "publish"
        if not row.is_variable():
            levels.append(_level(row, row.id, published=published))
            continue
        for child in families.get(row.id, NO_FAMILY).children:
            if isinstance(child, VariationRow):
                levels.append(_level(child, row.id, published=published and child.status == "publish"))
    return [level for level in levels if level is not None]


def _level(row: GoodsRow, product_id: int, *, published: bool) -> StockLevel | None:
    """None for a row that makes no sense: who reads the product whole sets it aside and says so."""
    try:
        price = price_of(row.price, "price")
        offer = Offer(sku=row.sku, price=price, compare_at_price=compare_at_price_of(row, price))
    except InvalidRecord:
        return None
    return StockLevel(
        product_id=str(product_id),
        variant_id=str(row.id),
        stock_quantity=quantity(row),
        available=is_available(row, price, published=published),
        offer=offer,
    )
