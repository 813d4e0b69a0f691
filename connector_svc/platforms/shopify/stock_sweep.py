"""Reads stock and prices of all variants, after an incremental pass: what changes without moving a product's date.

Shopify documents that an order moves `Product.updatedAt`; nothing says so of stock that is set, adjusted or moved
between locations. A page of 250 variants costs about 35 points, so small shops are swept in each incremental pass,
larger ones once a day.
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
from connector_svc.platforms.shopify.answer import Answer
from connector_svc.platforms.shopify.client import ShopifyClient
from connector_svc.platforms.shopify.faults import CursorRefused, PlatformStumbled, QueryTooDear, platform_fails
from connector_svc.platforms.shopify.ids import number_of
from connector_svc.platforms.shopify.page_size import PageSize
from connector_svc.platforms.shopify.parse import SOLD
from connector_svc.platforms.shopify.parse_variant import is_amount
from connector_svc.platforms.shopify.position import StockPosition
from connector_svc.platforms.shopify.queries import PAGE_VARIANTS, variant_stock
from connector_svc.platforms.shopify.search import behind
from connector_svc.platforms.shopify.tally import Tally
from connector_svc.platforms.shopify.wire import Connection, Int64, Wire

ALWAYS_UP_TO = 10_000
"""Variants up to which each incremental pass sweeps: 40 pages cost less than the smallest bucket holds."""
DAILY_UP_TO = 250_000
"""Variants up to which one pass a day sweeps: some six minutes at the smallest rate limit."""
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


def is_due(request: FetchRequest, watermark: datetime, variants: int | None) -> bool:
    """Whether this pass sweeps. Of a larger shop it is the one whose window holds the shop's moment of the day."""
    after = request.updated_after
    if after is None or variants is None or variants > DAILY_UP_TO:
        return False
    if variants <= ALWAYS_UP_TO:
        return True
    digest = hashlib.blake2b(request.shop.domain.encode(), digest_size=4).digest()
    moment = _EPOCH + timedelta(seconds=int.from_bytes(digest, "big") % _DAY.total_seconds())
    return (watermark - moment) // _DAY > (after - moment) // _DAY


def unseen(request: FetchRequest, variants: int | None) -> tuple[str, ...]:
    """What an incremental pass may miss, for people."""
    if request.updated_after is None or (variants is not None and variants <= ALWAYS_UP_TO):
        return ()
    often = "once a day" if variants is not None and variants <= DAILY_UP_TO else "by full syncs only"
    return (f"Stock and prices that change without moving the product's date are compared {often}.",)


class StockSweep:
    """Goes on where the position of `tally` stands, and moves it."""

    def __init__(self, client: ShopifyClient, tally: Tally, *, inventory: bool, pause: timedelta) -> None:
        self._client = client
        self._tally = tally
        self._query = variant_stock(inventory=inventory)
        self._size = PageSize(PAGE_VARIANTS, pause=pause)

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """Batches without products. Raises SourceFailure."""
        at = self._tally.position.stock or StockPosition()
        search = behind(at.variant_id, None)
        after: str | None = None
        while not at.is_done:
            try:
                answer = await self._size.ask(partial(self._ask, search, after))
            except CursorRefused:
                if after is None:
                    raise
                search, after = behind(at.variant_id, None), None
                continue
            except (PlatformStumbled, QueryTooDear) as error:
                raise platform_fails(self._client.shop) from error
            page = self._client.decoded(answer, _PAGE).product_variants
            info = page.page_info
            if info.has_next_page and info.end_cursor in {None, after}:
                raise SourceQueryRefused(self._client.shop, "the next page begins where this one did")
            levels = tuple(level for raw in page.nodes if (level := _level(raw)) is not None)
            last = max((int(level.variant_id) for level in levels), default=at.variant_id)
            at = StockPosition(variant_id=max(at.variant_id, last), is_done=not info.has_next_page)
            after = info.end_cursor
            yield Batch(products=(), checkpoint=self._tally.moved(stock=at), stock_levels=levels)

    async def _ask(self, search: str | None, after: str | None, first: int) -> Answer:
        return await self._client.call(self._query, {"first": first, "after": after, "query": search})


def _level(raw: msgspec.Raw) -> StockLevel | None:
    """None: it does not follow the schema. The pass that reads its product says so."""
    try:
        node = _VARIANT.decode(raw)
    except MALFORMED_ERRORS:
        return None
    variant_id, product_id = number_of(node.id, "ProductVariant"), number_of(node.product.id, "Product")
    before = node.compare_at_price
    if not variant_id or not product_id or not is_amount(node.price) or not (before is None or is_amount(before)):
        return None
    is_tracked = node.inventory_item is None or node.inventory_item.tracked
    return StockLevel(
        product_id=product_id,
        variant_id=variant_id,
        stock_quantity=node.inventory_quantity if is_tracked else None,
        available=node.product.status in SOLD and node.available_for_sale,
        offer=Offer(sku=node.sku or "", price=node.price, compare_at_price=before),
    )
