"""The watching client against a real server that dies, falls silent and refuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta

import grpc
import pytest
from catalogsync.catalog.v1.catalog_service_pb2 import Shop, Sync
from catalogsync_cli.client import CatalogClient, open_catalog
from catalogsync_cli.command import Options
from catalogsync_cli.errors import CallFailed
from catalogsync_cli.watch_client import Break, RetryPolicy

from tests.fakes.catalog_service import CatalogServer, FakeCatalog, Refused
from tests.unit.cli.conftest import eventually
from tests.waiting import PATIENCE

QUICK = RetryPolicy(stall=0.5, give_up=20, first_pause=0.05, longest_pause=0.2)


@pytest.fixture
async def client(server: CatalogServer) -> AsyncIterator[CatalogClient]:
    async with open_catalog(Options(catalog=server.address)) as client:
        yield client


class Watching:
    """A watcher in a task of its own."""

    def __init__(
        self, client: CatalogClient, sync: Sync, *, patience: RetryPolicy = QUICK, after: int = 0
    ) -> None:
        self.seen: list[Sync] = []
        self.links: list[Break | None] = []
        self._snapshots = client.watch(
            sync.sync_id, after_revision=after, on_link=self.links.append, patience=patience
        )
        self.task = asyncio.ensure_future(self._follow())

    @property
    def revisions(self) -> list[int]:
        return [sync.revision for sync in self.seen]

    async def _follow(self) -> None:
        async with aclosing(self._snapshots) as snapshots:
            async for sync in snapshots:
                self.seen.append(sync)

    async def end(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.task


def watches(catalog: FakeCatalog) -> list[int]:
    """after_revision of each WatchSync call."""
    return [request.after_revision for method, request, _ in catalog.requests if method == "WatchSync"]


async def test_a_watch_shows_the_present_and_ends_with_the_terminal_snapshot(
    catalog: FakeCatalog, client: CatalogClient, shop: Shop
) -> None:
    sync = catalog.add_sync(shop)
    watching = Watching(client, sync)
    await eventually(lambda: watching.revisions == [1])
    await catalog.change(sync.sync_id, state=Sync.STATE_RUNNING)
    await eventually(lambda: watching.revisions == [1, 2])
    await catalog.change(sync.sync_id, state=Sync.STATE_SUCCEEDED)
    await watching.end()
    assert watching.revisions == [1, 2, 3]
    assert watching.seen[-1].state == Sync.STATE_SUCCEEDED


async def test_an_end_that_came_while_the_server_was_dead_is_not_missed(
    server: CatalogServer, client: CatalogClient, shop: Shop
) -> None:
    sync = server.fake.add_sync(shop)
    watching = Watching(client, sync)
    await eventually(lambda: watching.revisions == [1])
    await server.die()
    await eventually(lambda: len(watching.links) > 0)
    await server.fake.change(sync.sync_id, state=Sync.STATE_RUNNING)
    await server.fake.change(sync.sync_id, state=Sync.STATE_SUCCEEDED)
    await server.start()
    await watching.end()
    assert watching.revisions == [1, 3]
    assert watching.seen[-1].state == Sync.STATE_SUCCEEDED
    assert watching.links[-1] is None


async def test_a_reconnect_goes_on_after_the_last_revision_and_repeats_none(
    server: CatalogServer, client: CatalogClient, shop: Shop
) -> None:
    sync = server.fake.add_sync(shop)
    watching = Watching(client, sync)
    for revision in range(2, 7):
        await eventually(lambda: len(watching.seen) > 0 and watching.links[-1:] in ([], [None]))
        await server.die()
        await server.fake.change(sync.sync_id, state=Sync.STATE_RUNNING)
        await server.start()
        await eventually(lambda now=revision: watching.revisions[-1] == now)  # type: ignore[misc]
    await server.fake.change(sync.sync_id, state=Sync.STATE_SUCCEEDED)
    await watching.end()
    assert watching.revisions == [1, 2, 3, 4, 5, 6, 7]
    assert set(watches(server.fake)) == {0, 1, 2, 3, 4, 5}


@pytest.mark.parametrize(
    "reason", ["STREAM_EXPIRED", "SERVER_DRAINING", "STORAGE_UNAVAILABLE", "TOO_MANY_WATCHERS"]
)
async def test_a_refusal_that_asks_to_call_again_is_followed_by_another_call(
    catalog: FakeCatalog, client: CatalogClient, shop: Shop, reason: str
) -> None:
    sync = catalog.add_sync(shop, state=Sync.STATE_SUCCEEDED)
    # More than gRPC itself would repeat.
    catalog.refusals["WatchSync"] = [Refused(reason, retry_after=timedelta(milliseconds=10)) for _ in range(6)]
    watching = Watching(client, sync, patience=RetryPolicy(first_pause=0.01, longest_pause=0.01))
    await watching.end()
    assert watching.revisions == [1]


async def test_the_pause_is_never_shorter_than_the_server_asked_for(
    catalog: FakeCatalog, client: CatalogClient, shop: Shop
) -> None:
    sync = catalog.add_sync(shop, state=Sync.STATE_SUCCEEDED)
    catalog.refusals["WatchSync"] = [Refused("TOO_MANY_WATCHERS", retry_after=timedelta(seconds=0.4))]
    watching = Watching(client, sync)
    await watching.end()
    first = watching.links[0]
    assert first is not None
    assert first.pause >= 0.4


async def test_a_silent_stream_is_dropped_and_opened_again(
    catalog: FakeCatalog, client: CatalogClient, shop: Shop
) -> None:
    catalog.silent = True
    sync = catalog.add_sync(shop, state=Sync.STATE_SUCCEEDED)
    watching = Watching(client, sync)
    await eventually(lambda: len(watches(catalog)) >= 2)
    catalog.silent = False
    await watching.end()
    assert watching.revisions == [1]


async def test_a_cancelled_that_nobody_asked_for_is_a_broken_stream(
    catalog: FakeCatalog, client: CatalogClient, shop: Shop
) -> None:
    sync = catalog.add_sync(shop, state=Sync.STATE_SUCCEEDED)
    catalog.cancels_next_watch = True
    watching = Watching(client, sync)
    await watching.end()
    assert watching.revisions == [1]
    first = watching.links[0]
    assert first is not None
    assert first.failure.code is grpc.StatusCode.CANCELLED


async def test_a_stream_that_ends_with_ok_too_early_is_opened_again(
    catalog: FakeCatalog, client: CatalogClient, shop: Shop
) -> None:
    sync = catalog.add_sync(shop)
    catalog.ends_next_watch = True
    watching = Watching(client, sync)
    await eventually(lambda: len(watches(catalog)) == 2)
    await catalog.change(sync.sync_id, state=Sync.STATE_CANCELLED)
    await watching.end()
    assert watching.seen[-1].state == Sync.STATE_CANCELLED


async def test_a_catalog_restored_from_a_backup_is_watched_from_its_present(
    catalog: FakeCatalog, client: CatalogClient, shop: Shop
) -> None:
    sync = catalog.add_sync(shop, state=Sync.STATE_SUCCEEDED)
    watching = Watching(client, sync, after=40)
    await watching.end()
    assert watches(catalog) == [40, 0]
    assert watching.revisions == [1]


async def test_a_sync_that_has_ended_shows_its_end_also_to_who_has_seen_that_revision(
    catalog: FakeCatalog, client: CatalogClient, shop: Shop
) -> None:
    sync = catalog.add_sync(shop, state=Sync.STATE_SUCCEEDED)
    watching = Watching(client, sync, after=sync.revision)
    await watching.end()
    assert watching.revisions == [1]
    assert len(watches(catalog)) == 1


async def test_an_error_that_no_repetition_mends_is_raised_at_once(
    catalog: FakeCatalog, client: CatalogClient
) -> None:
    with pytest.raises(CallFailed) as raised:
        await Watching(client, Sync(sync_id="unknown")).end()
    assert raised.value.failure.reason == "SYNC_NOT_FOUND"
    assert len(watches(catalog)) == 1


async def test_patience_ends_when_nothing_comes_for_long(
    server: CatalogServer, client: CatalogClient, shop: Shop
) -> None:
    sync = server.fake.add_sync(shop)
    await server.die()
    patience = RetryPolicy(give_up=0.5, first_pause=0.1, longest_pause=0.1)
    with pytest.raises(CallFailed) as raised:
        await Watching(client, sync, patience=patience).end()
    assert raised.value.failure.code is grpc.StatusCode.UNAVAILABLE


async def test_leaving_a_watch_early_ends_its_call_on_the_server(
    catalog: FakeCatalog, client: CatalogClient, shop: Shop
) -> None:
    sync = catalog.add_sync(shop)
    async with aclosing(client.watch(sync.sync_id)) as snapshots:
        async for _ in snapshots:
            assert catalog.watcher_count == 1
            break
    await eventually(lambda: catalog.watcher_count == 0)


async def test_cancelling_the_watcher_is_passed_on_and_ends_its_call(
    catalog: FakeCatalog, client: CatalogClient, shop: Shop
) -> None:
    watching = Watching(client, catalog.add_sync(shop))
    await eventually(lambda: watching.revisions == [1])
    watching.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching.end()
    await eventually(lambda: catalog.watcher_count == 0)
