"""The watch client against a real server that is killed, stalls and rejects calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import grpc
import pytest
from catalogsync.catalog.v1.catalog_service_pb2 import Shop, Sync, WatchSyncResponse
from catalogsync_client import CatalogClient, CatalogSyncError, Disconnect, RetryPolicy

from tests.fakes.catalog_service import CatalogServer, FailureWithReason, FakeCatalog
from tests.waiting import TIMEOUT_SECONDS
from tests.waiting import until as eventually

QUICK = RetryPolicy(stall_seconds=0.5, give_up_seconds=20, initial_backoff_seconds=0.05, max_backoff_seconds=0.2)


@pytest.fixture
async def client(server: CatalogServer) -> AsyncIterator[CatalogClient]:
    async with CatalogClient(server.address) as client:
        yield client


class Watching:
    """A watch in a task of its own."""

    def __init__(
        self, client: CatalogClient, sync: Sync, *, retry_policy: RetryPolicy = QUICK, after: int = 0
    ) -> None:
        self.seen: list[Sync] = []
        self.connections: list[Disconnect | None] = []
        self._snapshots = client.watch(
            sync.sync_id, after_revision=after, on_connection=self.connections.append, retry_policy=retry_policy
        )
        self.task = asyncio.ensure_future(self._collect())

    @property
    def revisions(self) -> list[int]:
        return [sync.revision for sync in self.seen]

    async def _collect(self) -> None:
        async with aclosing(self._snapshots) as snapshots:
            async for sync in snapshots:
                self.seen.append(sync)

    async def wait(self) -> None:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await self.task


def watch_requests(catalog: FakeCatalog) -> list[int]:
    """Return after_revision of each WatchSync call."""
    return [request.after_revision for method, request, _ in catalog.requests if method == "WatchSync"]


async def test_a_watch_yields_the_current_snapshot_and_ends_with_the_terminal_one(
    catalog: FakeCatalog, client: CatalogClient, shop: Shop
) -> None:
    sync = catalog.add_sync(shop)
    watching = Watching(client, sync)
    await eventually(lambda: watching.revisions == [1])
    await catalog.change(sync.sync_id, state=Sync.STATE_RUNNING)
    await eventually(lambda: watching.revisions == [1, 2])
    await catalog.change(sync.sync_id, state=Sync.STATE_SUCCEEDED)
    await watching.wait()
    assert watching.revisions == [1, 2, 3]
    assert watching.seen[-1].state == Sync.STATE_SUCCEEDED


async def test_a_terminal_snapshot_during_a_server_outage_is_not_missed(
    server: CatalogServer, client: CatalogClient, shop: Shop
) -> None:
    sync = server.fake.add_sync(shop)
    watching = Watching(client, sync)
    await eventually(lambda: watching.revisions == [1])
    await server.kill()
    await eventually(lambda: len(watching.connections) > 0)
    await server.fake.change(sync.sync_id, state=Sync.STATE_RUNNING)
    await server.fake.change(sync.sync_id, state=Sync.STATE_SUCCEEDED)
    await server.start()
    await watching.wait()
    assert watching.revisions == [1, 3]
    assert watching.seen[-1].state == Sync.STATE_SUCCEEDED
    assert watching.connections[-1] is None


async def test_a_reconnect_continues_after_the_last_revision_and_repeats_none(
    server: CatalogServer, client: CatalogClient, shop: Shop
) -> None:
    sync = server.fake.add_sync(shop)
    watching = Watching(client, sync)
    for revision in range(2, 7):
        await eventually(lambda: len(watching.seen) > 0 and watching.connections[-1:] in ([], [None]))
        await server.kill()
        await server.fake.change(sync.sync_id, state=Sync.STATE_RUNNING)
        await server.start()
        await eventually(lambda now=revision: watching.revisions[-1] == now)  # type: ignore[misc]
    await server.fake.change(sync.sync_id, state=Sync.STATE_SUCCEEDED)
    await watching.wait()
    assert watching.revisions == [1, 2, 3, 4, 5, 6, 7]
    assert set(watch_requests(server.fake)) == {0, 1, 2, 3, 4, 5}


@pytest.mark.parametrize(
    "reason", ["STREAM_EXPIRED", "SERVER_DRAINING", "STORAGE_UNAVAILABLE", "TOO_MANY_WATCHERS", "RATE_LIMITED"]
)
async def test_a_transient_error_is_retried(
    catalog: FakeCatalog, client: CatalogClient, shop: Shop, reason: str
) -> None:
    sync = catalog.add_sync(shop, state=Sync.STATE_SUCCEEDED)
    # More than gRPC itself would retry.
    catalog.errors["WatchSync"] = [
        FailureWithReason(reason, retry_after=timedelta(milliseconds=10)) for _ in range(6)
    ]
    watching = Watching(
        client, sync, retry_policy=RetryPolicy(initial_backoff_seconds=0.01, max_backoff_seconds=0.01)
    )
    await watching.wait()
    assert watching.revisions == [1]


async def test_the_backoff_is_never_shorter_than_the_server_asked_for(
    catalog: FakeCatalog, client: CatalogClient, shop: Shop
) -> None:
    sync = catalog.add_sync(shop, state=Sync.STATE_SUCCEEDED)
    catalog.errors["WatchSync"] = [FailureWithReason("TOO_MANY_WATCHERS", retry_after=timedelta(seconds=0.4))]
    watching = Watching(client, sync)
    await watching.wait()
    first = watching.connections[0]
    assert first is not None
    assert first.backoff_seconds >= 0.4


async def test_a_stalled_stream_is_dropped_and_opened_again(
    catalog: FakeCatalog, client: CatalogClient, shop: Shop
) -> None:
    catalog.stalled = True
    sync = catalog.add_sync(shop, state=Sync.STATE_SUCCEEDED)
    watching = Watching(client, sync)
    await eventually(lambda: len(watch_requests(catalog)) >= 2)
    catalog.stalled = False
    await watching.wait()
    assert watching.revisions == [1]


async def test_a_cancelled_status_from_the_server_counts_as_a_broken_stream(
    catalog: FakeCatalog, client: CatalogClient, shop: Shop
) -> None:
    sync = catalog.add_sync(shop, state=Sync.STATE_SUCCEEDED)
    catalog.cancels_next_watch = True
    watching = Watching(client, sync)
    await watching.wait()
    assert watching.revisions == [1]
    first = watching.connections[0]
    assert first is not None
    assert first.failure.code is grpc.StatusCode.CANCELLED


async def test_a_stream_that_ends_with_ok_too_early_is_opened_again(
    catalog: FakeCatalog, client: CatalogClient, shop: Shop
) -> None:
    sync = catalog.add_sync(shop)
    catalog.ends_next_watch = True
    watching = Watching(client, sync)
    await eventually(lambda: len(watch_requests(catalog)) == 2)
    await catalog.change(sync.sync_id, state=Sync.STATE_CANCELLED)
    await watching.wait()
    assert watching.seen[-1].state == Sync.STATE_CANCELLED


async def test_a_stream_that_ends_with_a_reason_to_reconnect_is_opened_again_at_once_and_is_no_failure(
    catalog: FakeCatalog, client: CatalogClient, shop: Shop
) -> None:
    sync = catalog.add_sync(shop)
    later: Any = 77
    catalog.reconnects = [
        WatchSyncResponse.RECONNECT_REASON_STREAM_EXPIRED,
        WatchSyncResponse.RECONNECT_REASON_SERVER_DRAINING,
        later,
    ]
    # A backoff would take the test's whole time limit.
    patient = RetryPolicy(initial_backoff_seconds=10_000, max_backoff_seconds=10_000)
    watching = Watching(client, sync, retry_policy=patient)
    await eventually(lambda: len(watch_requests(catalog)) == 4)
    await catalog.change(sync.sync_id, state=Sync.STATE_SUCCEEDED)
    await watching.wait()
    assert watching.revisions == [1, 2]
    assert watch_requests(catalog) == [0, 1, 1, 1]
    assert watching.connections == []


async def test_after_a_restore_from_backup_the_watch_starts_at_the_current_revision(
    catalog: FakeCatalog, client: CatalogClient, shop: Shop
) -> None:
    sync = catalog.add_sync(shop, state=Sync.STATE_SUCCEEDED)
    watching = Watching(client, sync, after=40)
    await watching.wait()
    assert watch_requests(catalog) == [40, 0]
    assert watching.revisions == [1]


async def test_the_terminal_snapshot_is_yielded_even_if_its_revision_was_seen(
    catalog: FakeCatalog, client: CatalogClient, shop: Shop
) -> None:
    sync = catalog.add_sync(shop, state=Sync.STATE_SUCCEEDED)
    watching = Watching(client, sync, after=sync.revision)
    await watching.wait()
    assert watching.revisions == [1]
    assert len(watch_requests(catalog)) == 1


async def test_a_permanent_error_is_raised_at_once(catalog: FakeCatalog, client: CatalogClient) -> None:
    with pytest.raises(CatalogSyncError) as raised:
        await Watching(client, Sync(sync_id="unknown")).wait()
    assert raised.value.failure.reason == "SYNC_NOT_FOUND"
    assert len(watch_requests(catalog)) == 1


async def test_a_watch_gives_up_when_no_message_arrives_for_long(
    server: CatalogServer, client: CatalogClient, shop: Shop
) -> None:
    sync = server.fake.add_sync(shop)
    await server.kill()
    retry_policy = RetryPolicy(give_up_seconds=0.5, initial_backoff_seconds=0.1, max_backoff_seconds=0.1)
    with pytest.raises(CatalogSyncError) as raised:
        await Watching(client, sync, retry_policy=retry_policy).wait()
    assert raised.value.failure.code is grpc.StatusCode.UNAVAILABLE


async def test_closing_a_watch_early_cancels_its_call_on_the_server(
    catalog: FakeCatalog, client: CatalogClient, shop: Shop
) -> None:
    sync = catalog.add_sync(shop)
    async with aclosing(client.watch(sync.sync_id)) as snapshots:
        async for _ in snapshots:
            assert catalog.watcher_count == 1
            break
    await eventually(lambda: catalog.watcher_count == 0)


async def test_cancelling_a_watch_cancels_its_call_on_the_server(
    catalog: FakeCatalog, client: CatalogClient, shop: Shop
) -> None:
    watching = Watching(client, catalog.add_sync(shop))
    await eventually(lambda: watching.revisions == [1])
    watching.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching.wait()
    await eventually(lambda: catalog.watcher_count == 0)


async def test_a_watch_yields_each_new_position_in_the_queue_although_the_revision_stays(
    catalog: FakeCatalog, client: CatalogClient, shop: Shop
) -> None:
    sync = catalog.add_sync(shop, queue_position=7)
    watching = Watching(client, sync)
    await eventually(lambda: watching.revisions == [1])
    for position in (7, 4):
        await catalog.move_in_queue(sync.sync_id, position)
    await eventually(lambda: watching.revisions == [1, 1])
    await catalog.change(sync.sync_id, state=Sync.STATE_SUCCEEDED, queue_position=None)
    await watching.wait()
    assert [seen.queue_position for seen in watching.seen] == [7, 4, 0]
    assert watching.revisions == [1, 1, 2]
