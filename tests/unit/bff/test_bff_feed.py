"""The feed of a subject: what its browsers get when streams overlap or the catalog is away at the start."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator

from catalogsync.catalog.v1.catalog_service_pb2 import Shop, Sync
from catalogsync_bff.streams.mailbox import Event, Mailbox
from catalogsync_bff.streams.snapshot import Snapshot
from catalogsync_bff.streams.subject_feed import SubjectFeed
from catalogsync_bff.streams.sync_topics import SyncTopics
from catalogsync_client import CatalogClient
from catalogsync_client.resuming_stream import ConnectionCallback

from tests.bff_client import BffClient
from tests.fakes.catalog_service import CatalogServer, FakeCatalog
from tests.waiting import forever, until


def running(revision: int) -> Sync:
    return Sync(sync_id="s", shop=Shop(shop_id="shop"), revision=revision, state=Sync.STATE_RUNNING)


class Listener:
    """Counts the snapshots of a topic."""

    def __init__(self) -> None:
        self.snapshots: list[Snapshot] = []

    def on_snapshot(self, snapshot: Snapshot) -> None:
        self.snapshots.append(snapshot)

    def on_connection(self, interrupted: bool) -> None:
        raise AssertionError("the connection is never interrupted")

    def on_end(self) -> None:
        """The topic is closed."""


async def test_a_feed_that_joins_a_watched_sync_sends_no_older_revision_after_a_newer_one(
    server: CatalogServer,
) -> None:
    """The topic delivers its latest snapshot at once, while the feed still handles an older one."""

    async def watch(sync_id: str, on_connection: ConnectionCallback) -> AsyncGenerator[Sync, None]:
        yield running(5)
        await forever()

    topics, other, mailbox = SyncTopics(watch, max_topics=10), Listener(), Mailbox()
    topics.subscribe("s", other)
    await until(lambda: other.snapshots)
    async with CatalogClient(server.address) as client:
        feed = SubjectFeed(client, topics)
        feed.start()
        with feed.subscribed(mailbox, last_event_id=""):
            received: list[Event] = []

            def caught_up() -> bool:
                received.extend(mailbox.take())
                return any(event.name == "caught_up" for event in received)

            await until(caught_up)
            feed.apply(Snapshot.of(running(1)))
            pending = mailbox.take()
        await feed.stop()
    await topics.close()
    assert [json.loads(event.data)["revision"] for event in pending] == [5]


async def test_a_feed_that_starts_while_the_catalog_is_away_says_when_it_is_back(
    bff: BffClient, server: CatalogServer, catalog: FakeCatalog
) -> None:
    await server.kill()
    async with bff.stream("/events") as stream:
        assert (await stream.next("connection")).content == {"state": "interrupted"}
        await server.start()
        names = [(await stream.next("connection", "caught_up")).name for _ in range(2)]
        assert sorted(names) == ["caught_up", "connection"]
        async with bff.stream("/events") as later:
            assert (await later.next("connection", "caught_up")).name == "caught_up"
            await asyncio.gather(catalog.move_in_queue(catalog.add_sync(Shop(shop_id="x")).sync_id, 1))
            assert (await later.next("connection", "sync")).name == "sync"
