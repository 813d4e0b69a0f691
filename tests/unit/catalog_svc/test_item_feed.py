"""Cursors of the item feed: which are valid, where a page ends, and how they are written as positions."""

from __future__ import annotations

import base64
from uuid import UUID

import msgspec
import pytest
from catalogsync_common.failure import InvalidRequest
from hypothesis import given
from hypothesis import strategies as st

from catalog_svc.domain.catalog_reads import Feed
from catalog_svc.domain.errors import PositionExpired
from catalog_svc.domain.item_feed import FeedCursor, check_cursor, page_of, start_cursor
from catalog_svc.rpc.item_feed import decode_position, encode_position

INCARNATION = UUID(int=7)
FEED = Feed(position=100, floor=40, incarnation=INCARNATION)
NUMBERS = st.integers(0, 2**63 - 1)
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=255)


def cursor(position: int, item_id: str = "", *, snapshot: int | None = None, of: UUID = INCARNATION) -> FeedCursor:
    return FeedCursor(incarnation=of, snapshot_position=snapshot, position=position, item_id=item_id)


@pytest.mark.parametrize(
    ("after", "valid"),
    [
        (cursor(40), True),
        (cursor(39), False),
        (cursor(100), True),
        (cursor(101), False),
        # Part of a position: the others of it may have been deleted and purged.
        (cursor(41, "1"), True),
        (cursor(40, "1"), False),
        (cursor(101, "1"), False),
        # A snapshot needs no deletions from before it began, but all from then on.
        (cursor(1, snapshot=40), True),
        (cursor(1, "1", snapshot=100), True),
        (cursor(1, snapshot=39), False),
        (cursor(1, snapshot=101), False),
        (cursor(50, of=UUID(int=8)), False),
    ],
)
def test_a_cursor_is_valid_while_no_deletion_after_it_can_have_been_purged(after: FeedCursor, valid: bool) -> None:
    if valid:
        check_cursor(FEED, after)
    else:
        with pytest.raises(PositionExpired):
            check_cursor(FEED, after)


def test_a_consumer_without_a_position_begins_with_a_snapshot_of_the_present() -> None:
    check_cursor(FEED, start_cursor(FEED))
    assert start_cursor(FEED) == cursor(0, snapshot=100)


def test_a_snapshot_that_was_overtaken_by_changes_has_not_caught_up() -> None:
    page = page_of(FEED, cursor(90, snapshot=95), (), limit=10)
    assert (page.cursor, page.caught_up) == (cursor(95), False)
    page = page_of(FEED, page.cursor, (), limit=10)
    assert (page.cursor, page.caught_up) == (cursor(100), True)


@given(st.uuids(), st.none() | NUMBERS, NUMBERS, TEXTS)
def test_a_position_is_read_as_it_was_written(
    incarnation: UUID, snapshot: int | None, position: int, item_id: str
) -> None:
    written = cursor(position, item_id, snapshot=snapshot, of=incarnation)
    assert decode_position(encode_position(written)) == written


def test_an_empty_position_is_the_beginning() -> None:
    assert decode_position("") is None


@given(st.text(min_size=1) | st.binary(min_size=1).map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_any_other_text_is_an_invalid_field(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode_position(text)
    assert [violation.field for violation in caught.value.violations] == ["after_position"]


@pytest.mark.parametrize(
    "fields",
    [
        (2, INCARNATION, None, 1, ""),
        (1, INCARNATION, None, -1, ""),
        (1, INCARNATION, 2**63, 1, ""),
        (1, INCARNATION, None, 1, "\0"),
        (1, "shop", None, 1, ""),
        (1, INCARNATION, None, 1),
        {},
    ],
)
def test_a_forged_position_is_an_invalid_field(fields: object) -> None:
    text = base64.urlsafe_b64encode(msgspec.msgpack.encode(fields)).decode().rstrip("=")
    with pytest.raises(InvalidRequest):
        decode_position(text)
