"""The parts of event streams: mailboxes, snapshots, and what a feed knows."""

from __future__ import annotations

from catalogsync.catalog.v1.catalog_service_pb2 import Shop, Sync
from catalogsync_bff.streams.event_stream import encode_event
from catalogsync_bff.streams.known_syncs import KnownSyncs
from catalogsync_bff.streams.mailbox import Event, Mailbox
from catalogsync_bff.streams.snapshot import Snapshot

from tests.waiting import within_timeout


def event(data: str) -> Event:
    return Event(name="sync", data=data.encode())


def snapshot(
    sync_id: str, revision: int, *, state: Sync.State.ValueType = Sync.STATE_RUNNING, at: int = 1
) -> Snapshot:
    sync = Sync(sync_id=sync_id, shop=Shop(shop_id="shop"), revision=revision, state=state)
    sync.create_time.seconds = at
    return Snapshot.of(sync)


def test_an_event_is_text_of_one_line_per_field() -> None:
    encoded = encode_event(Event(name="sync", data=b'{"a":"\\n"}', event_id="7"))
    assert encoded == b'event: sync\nid: 7\ndata: {"a":"\\n"}\n\n'


def test_a_text_with_line_breaks_cannot_add_fields() -> None:
    sync = Sync(sync_id="s", notes=["a\nid: 9\r\n\ndata: {}"])
    assert b"\n" not in Snapshot.of(sync).payload
    assert b"\r" not in Snapshot.of(sync).payload


async def test_a_mailbox_keeps_the_latest_event_of_each_key_in_order() -> None:
    mailbox = Mailbox()
    for key, data in (("a", "1"), ("b", "1"), ("a", "2")):
        mailbox.put(key, event(data))
    await within_timeout(mailbox.wait(60))
    assert mailbox.take() == [event("2"), event("1")]
    assert mailbox.take() == []
    await mailbox.wait(0)


async def test_a_closed_mailbox_delivers_what_is_pending() -> None:
    mailbox = Mailbox()
    mailbox.put("a", event("1"))
    mailbox.close()
    mailbox.put("b", event("1"))
    await within_timeout(mailbox.wait(60))
    assert mailbox.take() == [event("1")]
    await within_timeout(mailbox.wait(60))


def test_a_mailbox_with_too_many_keys_is_closed() -> None:
    """The browser reconnects, and gets a snapshot instead."""
    mailbox = Mailbox(max_slots=3)
    for number in range(4):
        mailbox.put(str(number), event("x"))
    assert (mailbox.closed, mailbox.take()) == (True, [])


def test_known_syncs_are_the_active_ones_and_the_latest_ended_one() -> None:
    known = KnownSyncs()
    assert known.apply(snapshot("old", 5, state=Sync.STATE_FAILED, at=1))
    assert known.apply(snapshot("new", 1, at=2))
    assert not known.apply(snapshot("new", 1, at=2))
    assert known.apply(snapshot("new", 3, at=2))
    assert not known.apply(snapshot("new", 2, at=2)), "revisions never fall"
    assert known.apply(snapshot("new", 4, state=Sync.STATE_SUCCEEDED, at=2))
    assert not known.apply(snapshot("new", 3, at=2)), "an ended sync runs no more"
    assert not known.apply(snapshot("old", 6, state=Sync.STATE_FAILED, at=1)), "an older one does not return"
    assert [one.sync_id for one in known] == ["new"]
    assert known.active == {}


def test_a_deleted_shop_takes_its_syncs_along() -> None:
    known = KnownSyncs()
    known.apply(snapshot("ended", 2, state=Sync.STATE_FAILED))
    known.apply(snapshot("active", 1, at=2))
    assert known.remove_shop("shop") == ["active"]
    assert list(known) == []


def test_a_place_in_the_queue_is_news_without_a_new_revision() -> None:
    def queued(position: int) -> Snapshot:
        return Snapshot.of(Sync(sync_id="s", revision=1, queue_position=position))

    assert queued(3).replaces(queued(4))
    assert not queued(3).replaces(queued(3))
    assert not snapshot("s", 1).replaces(queued(3))
