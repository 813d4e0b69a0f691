"""Scans stock and prices of all variants after an incremental pass, for changes that do not move a product's date.

Shopify documents that an order moves `Product.updatedAt`; it documents nothing of the kind for stock that is set,
adjusted or moved between locations. A page of 250 variants costs about 35 points, so small shops are scanned in
each incremental pass, larger ones once a day.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial

import msgspec

from connector_svc.domain.errors import SourceQueryRefused
from connector_svc.domain.fetch import Batch, FetchRequest, Offer, StockLevel
from connector_svc.domain.product import ProductStatus
from connector_svc.domain.records import MALFORMED_ERRORS, Code
from connector_svc.platforms.shopify.batch_builder import BatchBuilder
from connector_svc.platforms.shopify.client import ShopifyClient
from connector_svc.platforms.shopify.error_mapping import (
    InvalidCursor,
    MaxCostExceeded,
    ShopifyInternalError,
    internal_error,
)
from connector_svc.platforms.shopify.graphql_response import GraphqlResponse
from connector_svc.platforms.shopify.page_size import PageSize
from connector_svc.platforms.shopify.parse import SELLABLE_STATUSES, is_amount
from connector_svc.platforms.shopify.position import StockScanPosition
from connector_svc.platforms.shopify.queries import PAGE_VARIANTS, ids_after, variant_stock
from connector_svc.platforms.shopify.wire import Connection, Int64, Wire, numeric_id

EVERY_PASS_MAX_VARIANTS = 10_000
"""Up to this size each incremental pass scans: 40 pages cost less than the smallest bucket holds."""
DAILY_MAX_VARIANTS = 250_000
"""Up to this size one pass a day scans: about six minutes at the smallest rate limit."""
_DAY = timedelta(days=1)
_EPOCH = datetime(2020, 1, 1, tzinfo=UTC)


class _Product(Wire, frozen=True, kw_only=True):
    id: str
    status: ProductStatus


class _InventoryItem(Wire, frozen=True, kw_only=True):
    tracked: bool


class _Variant(Wire, frozen=True, kw_only=True):
    id: str
    sku: Code | None
    price: Decimal
    compare_at_price: Decimal | None
    inventory_quantity: Int64 | None
    available_for_sale: bool
    product: _Product
    inventory_item: _InventoryItem | None = None


class _Data(Wire, frozen=True, kw_only=True):
    product_variants: Connection[msgspec.Raw]


_PAGE = msgspec.json.Decoder(_Data)
_VARIANT = msgspec.json.Decoder(_Variant)


def is_scan_due(request: FetchRequest, watermark: datetime, variant_count: int | None) -> bool:
    """Return whether this pass scans.

    Of a larger shop it is the pass whose window contains the shop's time of day, which is derived from its domain.
    """
    after = request.updated_after
    if after is None or variant_count is None or variant_count > DAILY_MAX_VARIANTS:
        return False
    if variant_count <= EVERY_PASS_MAX_VARIANTS:
        return True
    digest = hashlib.blake2b(request.shop.domain.encode(), digest_size=4).digest()
    scan_time = _EPOCH + timedelta(seconds=int.from_bytes(digest, "big") % _DAY.total_seconds())
    return (watermark - scan_time) // _DAY > (after - scan_time) // _DAY


def undetected_change_notes(request: FetchRequest, variant_count: int | None) -> tuple[str, ...]:
    """Return the notes, for people, about what an incremental pass may miss."""
    if request.updated_after is None or (variant_count is not None and variant_count <= EVERY_PASS_MAX_VARIANTS):
        return ()
    is_daily = variant_count is not None and variant_count <= DAILY_MAX_VARIANTS
    frequency = "once a day" if is_daily else "by full syncs only"
    return (f"Stock and prices that change without moving the product's date are compared {frequency}.",)


class StockScan:
    """Continues at the builder's position, and moves it."""

    def __init__(
        self, client: ShopifyClient, builder: BatchBuilder, *, inventory: bool, retry_delay: timedelta
    ) -> None:
        self._client = client
        self._builder = builder
        self._query = variant_stock(inventory=inventory)
        self._page_size = PageSize(PAGE_VARIANTS, retry_delay=retry_delay)

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """Yield batches of stock levels, without products. Raises SourceFailure."""
        position = self._builder.position.stock_scan or StockScanPosition()
        search = ids_after(position.last_variant_id, None)
        after: str | None = None
        while not position.is_done:
            try:
                response = await self._page_size.call(partial(self._call, search, after))
            except InvalidCursor:
                if after is None:
                    raise
                search, after = ids_after(position.last_variant_id, None), None
                continue
            except (ShopifyInternalError, MaxCostExceeded) as error:
                raise internal_error(self._client.shop) from error
            page = self._client.decode(response, _PAGE).product_variants
            info = page.page_info
            if info.has_next_page and info.end_cursor in {None, after}:
                raise SourceQueryRefused(self._client.shop, "the next page begins where this one did")
            levels = tuple(level for raw in page.nodes if (level := _parse_level(raw)) is not None)
            last = max((int(level.variant_id) for level in levels), default=position.last_variant_id)
            position = StockScanPosition(
                last_variant_id=max(position.last_variant_id, last), is_done=not info.has_next_page
            )
            after = info.end_cursor
            yield Batch(products=(), checkpoint=self._builder.checkpoint(stock_scan=position), stock_levels=levels)

    async def _call(self, search: str | None, after: str | None, first: int) -> GraphqlResponse:
        return await self._client.call(self._query, {"first": first, "after": after, "query": search})


def _parse_level(raw: msgspec.Raw) -> StockLevel | None:
    """Return None for a variant that is not valid; the pass that reads its product reports the issue."""
    try:
        node = _VARIANT.decode(raw)
    except MALFORMED_ERRORS:
        return None
    variant_id, product_id = numeric_id(node.id, "ProductVariant"), numeric_id(node.product.id, "Product")
    compare_at = node.compare_at_price
    if not variant_id or not product_id or not is_amount(node.price):
        return None
    if compare_at is not None and not is_amount(compare_at):
        return None
    is_tracked = node.inventory_item is None or node.inventory_item.tracked
    return StockLevel(
        product_id=product_id,
        variant_id=variant_id,
        stock_quantity=node.inventory_quantity if is_tracked else None,
        available=node.product.status in SELLABLE_STATUSES and node.available_for_sale,
        offer=Offer(sku=node.sku or "", price=node.price, compare_at_price=compare_at),
    )
