"""Positions of the change feed: read as they were written, valid while nothing after them was purged."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import msgspec
import pytest
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync_common.failure import InvalidRequest
from catalogsync_common.principal import Principal, PrincipalKind, acting_as
from hypothesis import given
from hypothesis import strategies as st

from catalog_svc.domain.change_feed import (
    ChangeCursor,
    ChangedShop,
    ChangedSync,
    ChangeFeed,
    ChangeFilter,
    ChangeKind,
    ChangePage,
    SnapshotCursor,
)
from catalog_svc.domain.errors import ChangePositionExpired
from catalog_svc.domain.ids import new_shop_id, sync_id_of
from catalog_svc.domain.shop import Shop, ShopKey
from catalog_svc.domain.sync import SyncPosition
from catalog_svc.rpc.change_feed import (
    change_messages,
    decode_position,
    encode_position,
    own_filter,
    sync_messages,
)
from catalog_svc.usecases.watch_changes import ChangeMessage

INCARNATION = UUID(int=7)
FEED = ChangeFeed(incarnation=INCARNATION, floor=50, last_xid=90, horizon=100)
SHOP = Shop(shop_id=new_shop_id(), key=ShopKey("shopify", "demo.myshopify.com"), merchant_id="acme")
NUMBERS = st.integers(min_value=0, max_value=2**63 - 1)
TIMES = st.datetimes(timezones=st.just(UTC))
SNAPSHOTS = (
    st.none()
    | st.builds(SnapshotCursor, shop_id=st.none() | st.uuids())
    | st.builds(SnapshotCursor, sync=st.builds(SyncPosition, created_at=TIMES, sync_id=st.uuids()))
)


def cursor(xid: int, *, incarnation: UUID = INCARNATION) -> ChangeCursor:
    return ChangeCursor(incarnation=incarnation, xid=xid)


@pytest.mark.parametrize("xid", [51, 75, 100])
def test_a_position_between_the_floor_and_the_horizon_is_valid(xid: int) -> None:
    FEED.check(cursor(xid))


@pytest.mark.parametrize("expired", [cursor(50), cursor(101), cursor(75, incarnation=UUID(int=8))])
def test_any_other_position_is_expired(expired: ChangeCursor) -> None:
    """At the floor, an event of the same transaction may have been purged."""
    with pytest.raises(ChangePositionExpired):
        FEED.check(expired)


def test_a_consumer_begins_after_the_last_event_not_at_the_horizon() -> None:
    """After a crash, ids below the horizon may be assigned again."""
    assert (FEED.end, FEED.start.xid) == (cursor(91), 91)


@given(st.uuids(), NUMBERS, SNAPSHOTS, st.sampled_from(ChangeKind))
def test_a_position_is_read_as_it_was_written(
    incarnation: UUID, xid: int, snapshot: SnapshotCursor | None, kind: ChangeKind
) -> None:
    written = ChangeCursor(incarnation=incarnation, xid=xid, snapshot=snapshot)
    assert decode_position(encode_position(written, kind), kind) == written


@given(st.text(min_size=1) | st.binary(min_size=1).map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_any_other_text_is_an_invalid_field(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode_position(text, ChangeKind.SHOPS)
    assert [violation.field for violation in caught.value.violations] == ["after_position"]


@pytest.mark.parametrize(
    "fields",
    [
        (2, "SHOPS", INCARNATION, 1, False, None, None, None),
        (1, "SYNCS", INCARNATION, 1, False, None, None, None),
        (1, "ITEMS", INCARNATION, 1, False, None, None, None),
        (1, "SHOPS", "shop", 1, False, None, None, None),
        (1, "SHOPS", INCARNATION, -1, False, None, None, None),
        (1, "SHOPS", INCARNATION, 2**63, False, None, None, None),
        (1, "SHOPS", INCARNATION, 1, True, None, "2026-01-01T00:00:00", None),
        (1, "SHOPS", INCARNATION, 1),
    ],
)
def test_a_forged_position_is_an_invalid_field(fields: tuple[object, ...]) -> None:
    text = base64.urlsafe_b64encode(msgspec.msgpack.encode(fields)).decode().rstrip("=")
    with pytest.raises(InvalidRequest):
        decode_position(text, ChangeKind.SHOPS)


def page(*records: ChangedShop | ChangedSync) -> ChangePage:
    return ChangePage(records=records, begin=cursor(60), cursor=cursor(90), caught_up=True)


def test_a_page_that_does_not_fit_into_a_message_continues_at_its_beginning_until_its_last_message() -> None:
    """A client that stores the position of a message must not lose those that it has not received."""
    large = replace(SHOP, merchant_id="m" * 255)
    records = [
        ChangedShop(xid=60, shop=large, feed_position=number, recorded_at=datetime(2026, 1, 1, tzinfo=UTC))
        for number in range(5_000)
    ]
    messages = list(change_messages(ChangeMessage(page=page(*records))))
    assert len(messages) > 1
    assert [change.feed_position for message in messages for change in message.changes] == list(range(5_000))
    assert max(message.ByteSize() for message in messages) < 1_200_000
    *earlier, last = [decode_position(message.position, ChangeKind.SHOPS) for message in messages]
    assert (set(earlier), last) == ({cursor(60)}, cursor(90))
    assert [message.caught_up for message in messages] == [False] * len(earlier) + [True]


def test_syncs_that_are_not_stored_and_deleted_shops_are_named_by_their_ids() -> None:
    sync_id = sync_id_of(SHOP.shop_id, 3)
    gone = ChangedSync(xid=60, shop=SHOP, sync_id=sync_id, sync=None)
    deleted = ChangedShop(xid=61, shop=SHOP, feed_position=0, recorded_at=None, deleted=True)
    (message,) = sync_messages(ChangeMessage(page=page(gone, deleted)))
    assert message == pb.WatchSyncsResponse(
        removed_sync_ids=[str(sync_id)],
        deleted_shop_ids=[str(SHOP.shop_id)],
        position=encode_position(cursor(90), ChangeKind.SYNCS),
        caught_up=True,
    )


def test_the_filter_of_a_client_is_restricted_to_its_own_shops() -> None:
    def of(principal: Principal, merchant_id: str = "") -> ChangeFilter:
        with acting_as(principal):
            return own_filter(ChangeKind.SYNCS, merchant_id=merchant_id)

    service = Principal(kind=PrincipalKind.SERVICE, name="bff")
    merchant = Principal(kind=PrincipalKind.CLIENT, name="acme", merchant_id="acme")
    domain = Principal(kind=PrincipalKind.CLIENT, name="demo", domain="demo.myshopify.com")
    assert of(service) == ChangeFilter(kind=ChangeKind.SYNCS)
    assert of(service, "other") == ChangeFilter(kind=ChangeKind.SYNCS, merchant_id="other")
    assert of(merchant) == of(merchant, "acme") == ChangeFilter(kind=ChangeKind.SYNCS, merchant_id="acme")
    assert of(domain) == ChangeFilter(kind=ChangeKind.SYNCS, domain="demo.myshopify.com")
    both = of(domain, "other")
    assert not both.matches_shop(SHOP)
    with pytest.raises(InvalidRequest, match="merchant_id"):
        of(merchant, "other")
