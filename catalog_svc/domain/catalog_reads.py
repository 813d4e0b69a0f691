"""What clients read of a stored catalog: products, items, their filters, and the positions of incremental readers.

The feed of a shop is its items in the order of their positions: each change of an item, a deletion included, gives
it the position after the shop's last one. Whoever has read the feed up to a position continues after it. Deleted
items are purged some day: the floor is the highest position at or below which that may have happened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from catalog_svc.domain.analysis import AnalysisState, ItemAnalysis
from catalog_svc.domain.errors import PositionExpired


class Item(NamedTuple):
    """An item as it is read: a variant with fields of its product.

    A tuple, since clients read a million of them: a frozen dataclass takes seven times as long to create.
    """

    item_id: str
    product_id: str
    position: int
    title: str
    sku: str
    barcode: str
    currency_code: str
    price: Decimal | None
    compare_at_price: Decimal | None
    stock_quantity: int | None
    available: bool
    sellable_without_stock: bool
    image_url: str
    weight: Decimal | None
    weight_unit: str
    source_updated_at: datetime | None
    feed_position: int
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None
    product_title: str
    product_status: str
    product_url: str
    vendor: str
    product_type: str
    options: tuple[tuple[str, str], ...]
    """Names with their values."""
    analysis: ItemAnalysis | None = None
    """None: the shop has no analyzer, or the item is deleted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Product:
    """A product as it is read, with its items in the platform's order."""

    product_id: str
    title: str
    handle: str
    description_html: str
    vendor: str
    product_type: str
    tags: tuple[str, ...]
    status: str
    url: str
    options: tuple[tuple[str, Sequence[str]], ...]
    """Names with their values."""
    images: tuple[Mapping[str, Any], ...]
    """Objects with id, url, alt_text, width, height."""
    source_created_at: datetime | None
    source_updated_at: datetime | None
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None
    items: tuple[Item, ...]
    """All that are not deleted; of a deleted product all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ItemFilter:
    """Conditions of a list of items; an item must meet all of them."""

    sku: str = ""
    product_id: str = ""
    text: str = ""
    after_position: int = 0
    """Only items that changed after this position, by position; 0: any, by product id and item id."""
    include_deleted: bool = False
    analysis_state: AnalysisState | None = None
    """Not together with other conditions. None: any, also none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProductFilter:
    """Conditions of a list of products; a product must meet all of them."""

    text: str = ""
    include_deleted: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Feed:
    """The positions of a shop at one moment."""

    position: int
    """Of the last change."""
    floor: int
    """Changes at or below it may have been purged."""
    incarnation: UUID
    """Distinguishes this history of positions from that of another registration of the shop."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ItemCursor:
    """Where a page of items ended: the shop's feed at the first page, and the last item."""

    incarnation: UUID
    start_position: int
    """The shop's position when the first page was read."""
    feed_position: int
    """The last item's, like the ids."""
    product_id: str
    item_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ProductCursor:
    """Where a page of products ended: the last product, of this incarnation of the shop."""

    incarnation: UUID
    product_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ItemPage:
    """A page of items."""

    items: Sequence[Item]
    next: ItemCursor | None
    """None: this is the last page."""
    position: int | None
    """On the last page, the position after which an incremental reader continues."""
    incarnation: UUID


@dataclass(frozen=True, kw_only=True, slots=True)
class ProductPage:
    """A page of products."""

    products: Sequence[Product]
    more: bool
    """Whether there are products after the last one."""
    incarnation: UUID


def named_conditions(which: ItemFilter | ProductFilter) -> dict[str, object]:
    """Return the conditions that are set, by name, without those left at their default."""
    values = {field.name: (getattr(which, field.name), field.default) for field in fields(which)}
    return {name: value for name, (value, default) in values.items() if value != default}


def check_incarnation(feed: Feed, known: UUID | str) -> None:
    """Raise PositionExpired if the positions or pages that a client knows are of another incarnation."""
    if str(feed.incarnation) != str(known):
        raise position_expired(feed)


def check_item_position(feed: Feed, which: ItemFilter, cursor: ItemCursor | None) -> None:
    """Check that no change was purged that the list must contain.

    Args:
        feed: The feed in the snapshot from which the page is read.
        which: The filter of the list.
        cursor: Where the page before ended; None: this is the first page.

    Raises:
        PositionExpired: A change may have been purged; or the feed has not reached the position: the database was
            restored.
    """
    if cursor is not None:
        check_incarnation(feed, cursor.incarnation)
    if which.after_position == 0:
        # The changes after the first page are for the reader's next list.
        begin = cursor.start_position if cursor else 0
        if 0 < begin < feed.floor or begin > feed.position:
            raise position_expired(feed)
    elif cursor is None:
        if not feed.floor <= which.after_position <= feed.position:
            raise position_expired(feed)
    elif not feed.floor < cursor.feed_position <= feed.position:
        # Other deleted items of the cursor's position may not have been read yet.
        raise position_expired(feed)


def cut_item_page(
    found: Sequence[Item], feed: Feed, which: ItemFilter, cursor: ItemCursor | None, *, limit: int
) -> ItemPage:
    """Return the page of the items that were found, which are one more than `limit` unless it is the last page.

    The position that ends a list by product is that of its first page: items that change behind the cursor while
    pages are read get a higher one. In a list by position such items move ahead of the cursor, so that the last
    page's own snapshot holds nothing that was not listed.
    """
    start = cursor.start_position if cursor else feed.position
    if len(found) <= limit:
        position = feed.position if which.after_position else start
        return ItemPage(items=found, next=None, position=position, incarnation=feed.incarnation)
    last = found[limit - 1]
    following = ItemCursor(
        incarnation=feed.incarnation,
        start_position=start,
        feed_position=last.feed_position,
        product_id=last.product_id,
        item_id=last.item_id,
    )
    return ItemPage(items=found[:limit], next=following, position=None, incarnation=feed.incarnation)


def position_expired(feed: Feed) -> PositionExpired:
    """Return the failure of a position that is not within the feed."""
    return PositionExpired(position=feed.position, floor=feed.floor, incarnation=feed.incarnation)
