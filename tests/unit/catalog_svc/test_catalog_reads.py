"""Positions of incremental readers: which are expired, and with which position a list ends."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from catalog_svc.domain.catalog_reads import (
    Feed,
    Item,
    ItemCursor,
    ItemFilter,
    check_incarnation,
    check_item_position,
    cut_item_page,
)
from catalog_svc.domain.errors import PositionExpired

INCARNATION = UUID(int=7)
FEED = Feed(position=100, floor=40, incarnation=INCARNATION)
NOW = datetime(2026, 11, 20, tzinfo=UTC)


def cursor(*, start: int, feed: int, incarnation: UUID = INCARNATION) -> ItemCursor:
    return ItemCursor(
        incarnation=incarnation, start_position=start, feed_position=feed, product_id="1", item_id="1"
    )


def item(number: int) -> Item:
    return Item(
        item_id=f"{number}",
        product_id="1",
        position=1,
        title="",
        sku="",
        barcode="",
        currency_code="EUR",
        price=None,
        compare_at_price=None,
        stock_quantity=None,
        available=True,
        sellable_without_stock=False,
        options=(),
        image_url="",
        weight=None,
        weight_unit="",
        source_updated_at=None,
        feed_position=50 + number,
        created_at=NOW,
        updated_at=NOW,
        deleted_at=None,
        product_title="",
        product_status="",
        product_url="",
        vendor="",
        product_type="",
    )


@pytest.mark.parametrize(
    ("after_position", "valid"), [(1, False), (39, False), (40, True), (100, True), (101, False)]
)
def test_a_list_may_begin_between_the_floor_and_the_last_change(after_position: int, valid: bool) -> None:
    check(ItemFilter(after_position=after_position), None, valid=valid)


@pytest.mark.parametrize(("reached", "valid"), [(39, False), (40, False), (41, True), (100, True), (101, False)])
def test_a_list_may_go_on_while_nothing_is_purged_that_it_has_not_reached(reached: int, valid: bool) -> None:
    """At the floor itself, deleted items may be gone that share the position of the last item of the page."""
    check(ItemFilter(after_position=1), cursor(start=100, feed=reached), valid=valid)


@pytest.mark.parametrize(("start", "valid"), [(39, False), (40, True), (100, True), (101, False)])
def test_a_list_of_all_items_may_go_on_while_nothing_is_purged_that_changed_since_it_began(
    start: int, valid: bool
) -> None:
    check(ItemFilter(), cursor(start=start, feed=1), valid=valid)


def test_a_list_of_all_items_may_begin_at_any_time() -> None:
    check(ItemFilter(), None, valid=True)


@pytest.mark.parametrize("which", [ItemFilter(), ItemFilter(after_position=50)])
def test_a_page_of_another_incarnation_is_expired(which: ItemFilter) -> None:
    check(which, cursor(start=60, feed=60), valid=True)
    check(which, cursor(start=60, feed=60, incarnation=UUID(int=8)), valid=False)


def test_the_incarnation_that_a_client_sends_must_be_the_shops() -> None:
    check_incarnation(FEED, str(INCARNATION))
    with pytest.raises(PositionExpired) as caught:
        check_incarnation(FEED, "no uuid")
    assert caught.value.metadata == {"position": "100", "floor": "40", "incarnation": str(INCARNATION)}


def check(which: ItemFilter, after: ItemCursor | None, *, valid: bool) -> None:
    if valid:
        check_item_position(FEED, which, after)
    else:
        with pytest.raises(PositionExpired):
            check_item_position(FEED, which, after)


@pytest.mark.parametrize(
    ("which", "position"),
    [(ItemFilter(), 100), (ItemFilter(after_position=50), 120)],
    ids=["that of the first page", "that of the last page, after a position"],
)
def test_the_position_of_a_list(which: ItemFilter, position: int) -> None:
    items = [item(number) for number in range(5)]
    first = cut_item_page(items[:3], FEED, which, None, limit=2)
    assert (first.items, first.position) == (items[:2], None)
    assert first.next is not None
    assert (first.next.start_position, first.next.feed_position) == (100, 51)
    assert (first.next.product_id, first.next.item_id) == ("1", "1")
    later = replace(FEED, position=120)
    last = cut_item_page(items[2:4], later, which, first.next, limit=2)
    assert (last.items, last.next, last.position) == (items[2:4], None, position)
