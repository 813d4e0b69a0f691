"""Stock scan: what an incremental pass reports of products that it does not read whole.

Orders and imports change stock without changing a modification date, and a product deleted for good leaves no
trace. So the scan lists the trash, and then, with few fields, stock, price and id of all products, and of all
variations where the store has a bulk route.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final

import msgspec

from connector_svc.domain.checkpoint import encode_checkpoint
from connector_svc.domain.errors import SourceQueryRefused
from connector_svc.domain.fetch import Batch, End, FetchRequest, Offer, StockLevel
from connector_svc.domain.records import InvalidRecord
from connector_svc.platforms.woocommerce.batch_loader import LoadedBatch, load_all
from connector_svc.platforms.woocommerce.client import Params, StoreClient
from connector_svc.platforms.woocommerce.delivery import ProductDelivery
from connector_svc.platforms.woocommerce.parse import compare_at_price, is_available, stock_quantity
from connector_svc.platforms.woocommerce.position import FINGERPRINT, Position, ProductsEnd, ScanProgress
from connector_svc.platforms.woocommerce.product_pager import Cursor, ListedProduct, ProductPager
from connector_svc.platforms.woocommerce.variations import VariationReader
from connector_svc.platforms.woocommerce.wire import (
    PRODUCTS_PATH,
    STOCK_FIELDS,
    VARIATION_STOCK_FIELDS,
    ProductRow,
    SellableRow,
    VariationRow,
    parse_price,
)

_log = logging.getLogger(__name__)
_TRASH_FILTER: Final = ("status", "trash")
_NOT_ALL_LISTED: Final = (
    "The store did not list all products that it counts: this sync does not notice which were deleted for good."
)


class StockScan:
    """The first and the last phase of one incremental pass."""

    def __init__(self, request: FetchRequest, client: StoreClient, filters: Params) -> None:
        """Create a scan.

        Args:
            filters: Query parameters that select the products modified since the last pass.
        """
        self._request = request
        self._client = client
        self._filters = filters

    async def read_trash(self, position: Position) -> AsyncGenerator[tuple[Batch, Position], None]:
        """Yield the products trashed since the last pass, with the positions after them. Raise SourceFailure."""
        filters = (_TRASH_FILTER, *self._filters)
        pager = ProductPager(self._client, filters, _cursor(position), fields=STOCK_FIELDS)
        try:
            async with aclosing(pager.pages()) as pages:
                async for page in pages:
                    position = _position_after(position, page)
                    yield self._make_batch(position, deleted_product_ids=_ids(page)), position
        except SourceQueryRefused:
            _log.info("%s: the trash cannot be listed; the stock scan finds deleted products", self._client.shop)

    async def scan(
        self, position: Position, delivery: ProductDelivery
    ) -> AsyncGenerator[tuple[Batch, Position], None]:
        """Yield stock, price and id of all products, then a second time for products added meanwhile."""
        for _ in range(2):
            async with aclosing(self._scan_once(position, delivery)) as batches:
                async for batch, position in batches:
                    yield batch, position

    async def build_end(self, position: Position) -> End:
        """Build the end of the pass. All products were listed only if the store counts no more, and hid none."""
        total = (await self._client.count(PRODUCTS_PATH, ())).total
        scan, products_end = position.scan, position.products_end or ProductsEnd()
        all_listed = scan.is_complete and total is not None and scan.count >= total
        return End(
            source_count=products_end.source_count,
            emitted_count=position.counts.emitted,
            rejected_count=position.counts.rejected,
            emitted_variant_count=position.counts.emitted_items,
            warnings=products_end.warnings,
            notes=products_end.notes if all_listed else (*products_end.notes, _NOT_ALL_LISTED),
            all_listed=all_listed,
        )

    async def _scan_once(
        self, position: Position, delivery: ProductDelivery
    ) -> AsyncGenerator[tuple[Batch, Position], None]:
        pager = ProductPager(self._client, (), _cursor(position), fields=STOCK_FIELDS)
        variations = VariationReader(self._client, position.route, fields=VARIATION_STOCK_FIELDS, bulk_only=True)
        max_products = self._request.max_batch_products
        async with aclosing(load_all(pager, variations, max_products=max_products)) as batches:
            async for loaded in batches:
                ids = _ids(loaded.products)
                progress = ScanProgress(
                    count=position.scan.count + len(ids),
                    is_complete=position.scan.is_complete and pager.is_complete,
                )
                position = msgspec.structs.replace(_position_after(position, loaded.products), scan=progress)
                stock_levels = tuple(_stock_levels(loaded))
                yield self._make_batch(position, listed_product_ids=ids, stock_levels=stock_levels), position
                # Their modification date did not change, and only a whole product says which variations it lacks.
                stale = [product_id for product_id, group in loaded.groups.items() if group.removed]
                async with aclosing(delivery.deliver_by_id(stale, position)) as reread:
                    async for batch, _ in reread:
                        # The position keeps its counts: these products were counted at their first delivery.
                        yield replace(batch, checkpoint=self._checkpoint(position)), position

    def _make_batch(
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


def _cursor(position: Position) -> Cursor:
    return Cursor(last_id=position.last_id, offset=position.offset)


def _position_after(position: Position, products: Sequence[ListedProduct]) -> Position:
    cursor = products[-1].cursor
    return msgspec.structs.replace(position, last_id=cursor.last_id, offset=cursor.offset)


def _ids(products: Sequence[ListedProduct]) -> tuple[str, ...]:
    return tuple(str(listed.record.id) for listed in products if listed.record.id is not None)


def _stock_levels(loaded: LoadedBatch) -> list[StockLevel]:
    levels: list[StockLevel | None] = []
    for listed in loaded.products:
        row = listed.record
        if not isinstance(row, ProductRow):
            continue
        is_published = row.status == "publish"
        if not row.is_variable():
            levels.append(_stock_level(row, row.id, is_published=is_published))
            continue
        for child in loaded.group_of(listed).variations:
            if isinstance(child, VariationRow):
                child_is_published = is_published and child.status == "publish"
                levels.append(_stock_level(child, row.id, is_published=child_is_published))
    return [level for level in levels if level is not None]


def _stock_level(row: SellableRow, product_id: int, *, is_published: bool) -> StockLevel | None:
    """Return the stock level; None for an invalid row, which is reported where the product is read whole."""
    try:
        price = parse_price(row.price, "price")
        offer = Offer(sku=row.sku, price=price, compare_at_price=compare_at_price(row, price))
    except InvalidRecord:
        return None
    return StockLevel(
        product_id=str(product_id),
        variant_id=str(row.id),
        stock_quantity=stock_quantity(row),
        available=is_available(row, price, is_published=is_published),
        offer=offer,
    )
