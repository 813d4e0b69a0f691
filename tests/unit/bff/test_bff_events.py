"""Event streams of browsers: what they get, when they end, and how much of it is shared upstream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from catalogsync.catalog.v1.catalog_service_pb2 import Progress, RecordCounts, Shop, Sync

from tests.bff_client import BffClient, EventReader
from tests.fakes.catalog_service import CatalogServer, FailureWithReason, FakeCatalog
from tests.unit.bff.conftest import served
from tests.waiting import until

RUNNING = Sync.STATE_RUNNING
SUCCEEDED = Sync.STATE_SUCCEEDED


@pytest.fixture
async def quick_bff(server: CatalogServer) -> AsyncIterator[BffClient]:
    """A client of a BFF that sends a heartbeat every 100 ms."""
    async with served(server, dev_login=True, heartbeat_interval=timedelta(milliseconds=100)) as client:
        await client.log_in()
        yield client


def seen(count: int) -> Progress:
    """Return the progress of a sync that has read so many items."""
    return Progress(items=RecordCounts(seen_count=count))


def calls(catalog: FakeCatalog, method: str) -> int:
    """Return how often a method was called."""
    return sum(one == method for one, _, _ in catalog.requests)


async def read_to(stream: EventReader, revision: int) -> list[int]:
    """Return the revisions of sync events up to this one."""
    revisions: list[int] = []
    while not revisions or revisions[-1] < revision:
        revisions.append((await stream.next("sync")).content["revision"])
    return revisions


class TestOfOneSync:
    async def test_each_snapshot_has_its_revision_as_id_and_the_terminal_one_ends_the_stream(
        self, bff: BffClient, catalog: FakeCatalog, shop: Shop
    ) -> None:
        sync = catalog.add_sync(shop)
        async with bff.stream(f"/sync/{sync.sync_id}/events") as stream:
            first = await stream.next()
            assert (first.name, first.event_id, first.content["state"]) == ("sync", "1", "PENDING")
            await catalog.change(sync.sync_id, state=RUNNING, progress=seen(5))
            second = await stream.next()
            assert second.event_id == "2"
            assert second.content["progress"]["items"]["seen_count"] == 5
            await catalog.change(sync.sync_id, state=SUCCEEDED)
            rest = await stream.rest()
        assert [(event.event_id, event.content["state"]) for event in rest] == [("3", "SUCCEEDED")]
        assert stream.retry is not None
        assert 1_000 <= stream.retry <= 3_000

    async def test_proxies_are_told_to_neither_buffer_nor_compress(
        self, bff: BffClient, catalog: FakeCatalog, shop: Shop
    ) -> None:
        sync = catalog.add_sync(shop, state=SUCCEEDED)
        async with bff.stream(f"/sync/{sync.sync_id}/events") as stream:
            headers = stream.response.headers
        assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert headers["Cache-Control"] == "no-cache, no-transform"
        assert headers["X-Accel-Buffering"] == "no"
        assert "Content-Encoding" not in headers

    @pytest.mark.parametrize(("last_event_id", "status"), [("1", 204), ("7", 204), ("0", 200), ("x", 200)])
    async def test_a_browser_that_has_the_terminal_snapshot_is_told_not_to_reconnect(
        self, bff: BffClient, catalog: FakeCatalog, shop: Shop, last_event_id: str, status: int
    ) -> None:
        sync = catalog.add_sync(shop, state=SUCCEEDED)
        answer = await bff.get(f"/sync/{sync.sync_id}/events", headers={"Last-Event-ID": last_event_id})
        assert answer.status == status
        assert (b"SUCCEEDED" in answer.body) == (status == 200)

    async def test_a_browser_that_reconnects_gets_only_what_it_has_not(
        self, bff: BffClient, catalog: FakeCatalog, shop: Shop
    ) -> None:
        sync = catalog.add_sync(shop)
        await catalog.change(sync.sync_id, state=RUNNING)
        async with bff.stream(f"/sync/{sync.sync_id}/events", last_event_id="2") as stream:
            await until(lambda: calls(catalog, "WatchSync"))
            await catalog.change(sync.sync_id, progress=seen(1))
            assert (await stream.next()).event_id == "3"

    async def test_after_a_restore_a_browser_with_a_later_revision_gets_the_present_one(
        self, bff: BffClient, catalog: FakeCatalog, shop: Shop
    ) -> None:
        sync = catalog.add_sync(shop, state=RUNNING)
        async with bff.stream(f"/sync/{sync.sync_id}/events", last_event_id="99") as stream:
            assert (await stream.next()).event_id == "1"

    async def test_twenty_browsers_share_one_stream_upstream(
        self, bff: BffClient, catalog: FakeCatalog, shop: Shop
    ) -> None:
        sync = catalog.add_sync(shop, state=RUNNING)
        async with AsyncExitStack() as stack:
            streams = [
                await stack.enter_async_context(bff.stream(f"/sync/{sync.sync_id}/events")) for _ in range(20)
            ]
            for stream in streams:
                assert (await stream.next()).event_id == "1"
            await catalog.change(sync.sync_id, state=SUCCEEDED)
            for stream in streams:
                assert [event.event_id for event in await stream.rest()] == ["2"]
        assert calls(catalog, "WatchSync") == 1

    async def test_the_last_browser_ends_the_stream_upstream(
        self, quick_bff: BffClient, catalog: FakeCatalog, shop: Shop
    ) -> None:
        """A closed connection is noticed by the next heartbeat at the latest."""
        sync = catalog.add_sync(shop, state=RUNNING)
        async with quick_bff.stream(f"/sync/{sync.sync_id}/events") as stream:
            await stream.next()
            await until(lambda: catalog.watcher_count == 1)
        await until(lambda: catalog.watcher_count == 0)

    async def test_a_stream_without_events_sends_heartbeats(
        self, quick_bff: BffClient, catalog: FakeCatalog, shop: Shop
    ) -> None:
        sync = catalog.add_sync(shop, state=RUNNING)
        async with quick_bff.stream(f"/sync/{sync.sync_id}/events") as stream:
            for _ in range(3):
                heartbeat = await stream.next("heartbeat")
                assert heartbeat.event_id == ""
                assert "server_time" in heartbeat.content
        assert stream.comments >= 3

    async def test_a_broken_connection_upstream_is_resumed_without_a_gap(
        self, bff: BffClient, server: CatalogServer, catalog: FakeCatalog, shop: Shop
    ) -> None:
        sync = catalog.add_sync(shop, state=RUNNING)
        async with bff.stream(f"/sync/{sync.sync_id}/events") as stream:
            await stream.next()
            await until(lambda: catalog.watcher_count == 1)
            await server.kill()
            await catalog.change(sync.sync_id, state=SUCCEEDED)
            await server.start()
            events = await stream.rest()
        assert [event.content["state"] for event in events if event.name == "sync"] == ["SUCCEEDED"]

    async def test_an_unknown_or_foreign_sync_is_not_streamed(self, bff: BffClient, catalog: FakeCatalog) -> None:
        answer = await bff.get("/sync/00000000-0000-0000-0000-000000000000/events")
        assert (answer.status, answer.code) == (404, "SYNC_NOT_FOUND")
        assert calls(catalog, "WatchSync") == 0


class TestOfAllSyncs:
    async def test_a_snapshot_comes_first_and_then_each_change(
        self, bff: BffClient, catalog: FakeCatalog, shop: Shop
    ) -> None:
        shop = catalog.register(shop)
        catalog.add_sync(shop, state=SUCCEEDED)
        latest = catalog.add_sync(shop, state=Sync.STATE_FAILED)
        other = catalog.register(Shop(platform="shopify", domain="other.myshopify.com"))
        running = catalog.add_sync(other, state=RUNNING)
        async with bff.stream("/events") as stream:
            hello = await stream.next()
            assert (hello.name, hello.content["resumed"]) == ("hello", False)
            snapshot = [await stream.next() for _ in range(3)]
            assert {event.content.get("sync_id") for event in snapshot[:2]} == {latest.sync_id, running.sync_id}
            assert snapshot[2].name == "caught_up"
            await catalog.change(running.sync_id, progress=seen(7))
            progress = await stream.next("sync")
            assert progress.content["progress"]["items"]["seen_count"] == 7
            started = catalog.add_sync(shop)
            await catalog.change(started.sync_id, state=RUNNING)
            assert (await stream.next("sync")).content["sync_id"] == started.sync_id

    async def test_all_browsers_share_one_stream_of_states_and_one_of_each_sync(
        self, bff: BffClient, catalog: FakeCatalog, shop: Shop
    ) -> None:
        sync = catalog.add_sync(catalog.register(shop), state=RUNNING)
        async with AsyncExitStack() as stack:
            streams = [await stack.enter_async_context(bff.stream("/events")) for _ in range(20)]
            one = await stack.enter_async_context(bff.stream(f"/sync/{sync.sync_id}/events"))
            await one.next()
            for stream in streams:
                await stream.next("caught_up")
            await catalog.change(sync.sync_id, state=SUCCEEDED)
            for stream in streams:
                assert (await stream.next("sync")).content["state"] == "SUCCEEDED"
        assert (calls(catalog, "WatchSyncs"), calls(catalog, "WatchSync")) == (1, 1)

    async def test_no_revision_ever_goes_backwards(
        self, bff: BffClient, server: CatalogServer, catalog: FakeCatalog, shop: Shop
    ) -> None:
        """WatchSyncs may repeat a sync with an older revision than WatchSync has sent."""
        sync = catalog.add_sync(catalog.register(shop), state=RUNNING)
        revisions: list[int] = []
        async with bff.stream("/events") as stream:
            await stream.next("caught_up")
            for count in range(1, 6):
                await catalog.change(sync.sync_id, progress=seen(count))
                revisions += await read_to(stream, count + 1)
            await server.kill()
            await server.start()
            await catalog.change(sync.sync_id, state=SUCCEEDED)
            revisions += await read_to(stream, 7)
        assert revisions == sorted(set(revisions))

    async def test_a_browser_that_reconnects_learns_whether_it_has_missed_anything(
        self, bff: BffClient, catalog: FakeCatalog, shop: Shop
    ) -> None:
        sync = catalog.add_sync(catalog.register(shop), state=RUNNING)
        async with bff.stream("/events") as stream:
            await stream.next("caught_up")
            await catalog.change(sync.sync_id, progress=seen(1))
            last = (await stream.next("sync")).event_id
        async with bff.stream("/events", last_event_id=last) as stream:
            assert (await stream.next("hello")).content["resumed"] is True
        async with bff.stream("/events", last_event_id="another-1") as stream:
            assert (await stream.next("hello")).content["resumed"] is False

    async def test_an_outage_of_the_catalog_is_shown_and_its_end_too(
        self, bff: BffClient, server: CatalogServer, catalog: FakeCatalog, shop: Shop
    ) -> None:
        catalog.add_sync(catalog.register(shop), state=RUNNING)
        async with bff.stream("/events") as stream:
            await stream.next("caught_up")
            await server.kill()
            assert (await stream.next("connection")).content == {"state": "interrupted"}
            async with bff.stream("/events") as later:
                assert (await later.next("connection")).content == {"state": "interrupted"}
            await server.start()
            await catalog.change(next(iter(catalog.syncs)), progress=seen(1))
            assert (await stream.next("connection")).content == {"state": "restored"}

    async def test_a_feed_that_the_catalog_refuses_ends_the_stream_and_the_next_one_begins_anew(
        self, bff: BffClient, catalog: FakeCatalog
    ) -> None:
        """Such as one with an expired position: browsers reconnect."""
        catalog.errors["WatchSyncs"] = [FailureWithReason("POSITION_EXPIRED", "begin again")]
        async with bff.stream("/events") as stream:
            assert [event.name for event in await stream.rest()] == ["hello"]
        async with bff.stream("/events") as stream:
            await stream.next("caught_up")


class TestEnd:
    async def test_a_stopping_bff_ends_all_streams_at_once(
        self, server: CatalogServer, catalog: FakeCatalog, shop: Shop
    ) -> None:
        sync = catalog.add_sync(catalog.register(shop), state=RUNNING)
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(served(server, dev_login=True))
            await client.log_in()
            browser = BffClient(client.url, headers={"Cookie": client.cookie})
            async with (
                browser,
                browser.stream("/events") as all_,
                browser.stream(f"/sync/{sync.sync_id}/events") as one,
            ):
                await all_.next("caught_up")
                await one.next()
                closing = asyncio.ensure_future(stack.aclose())
                assert [event.name for event in await all_.rest()] == []
                assert await one.rest() == []
                await closing
        await until(lambda: catalog.watcher_count == 0)

    async def test_a_stream_ends_when_the_credentials_expire(self, bff: BffClient, catalog: FakeCatalog) -> None:
        expires = (datetime.now(UTC) + timedelta(seconds=2)).replace(microsecond=0)
        token = jwt.encode({"sub": "demo.myshopify.com", "exp": expires}, "k" * 40, algorithm="HS256")
        async with bff.stream("/events", headers={"Authorization": f"Bearer {token}"}) as stream:
            assert (await stream.rest())[0].name == "hello"
        assert datetime.now(UTC) >= expires

    async def test_too_many_streams_are_refused(self, server: CatalogServer) -> None:
        async with served(server, dev_login=True, max_streams_per_subject=2) as client:
            await client.log_in()
            async with client.stream("/events") as first, client.stream("/events") as second:
                await first.next()
                await second.next()
                refused = await client.get("/events")
        assert (refused.status, refused.code) == (503, "TOO_MANY_STREAMS")
        assert refused.headers["Retry-After"] == "5"

    async def test_a_browser_that_reads_nothing_costs_a_bounded_amount_of_memory(
        self, bff: BffClient, catalog: FakeCatalog, shop: Shop
    ) -> None:
        """It has one pending event, the latest; the others were replaced.

        30 MB are sent, several times what the buffers of the kernel take.
        """
        sync = catalog.add_sync(shop, state=RUNNING, notes=["x" * 100_000])
        async with (
            bff.stream(f"/sync/{sync.sync_id}/events") as slow,
            bff.stream(f"/sync/{sync.sync_id}/events") as quick,
        ):
            await slow.next()
            for count in range(1, 300):
                await catalog.change(sync.sync_id, progress=seen(count))
                await read_to(quick, count + 1)
            await catalog.change(sync.sync_id, state=SUCCEEDED)
            events = await slow.rest()
        revisions = [int(event.event_id) for event in events]
        assert revisions == sorted(revisions)
        assert revisions[-1] == 301
        assert len(revisions) < 150
