"""A PENDING sync shows how many syncs are claimed before it, everywhere and cheaply."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, aclosing, asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import grpc
import pytest
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from catalogsync.connector.v1.connector_service_pb2_grpc import add_ConnectorServiceServicer_to_server
from catalogsync_common.channel import open_channel
from catalogsync_common.drain import Drain
from catalogsync_common.interceptor import CallInterceptor
from catalogsync_common.settings import ListenAddress
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from catalog_svc import bootstrap
from catalog_svc.domain.ids import new_shop_id, sync_id_of
from catalog_svc.domain.schedule import ScheduleDefaults
from catalog_svc.domain.shop import ShopKey
from catalog_svc.domain.sync import MAX_QUEUE_POSITION, Sync, SyncTrigger
from catalog_svc.metrics import NullDeliveryMetrics
from catalog_svc.settings import CatalogSettings
from catalog_svc.storage.database import Database
from catalog_svc.storage.status import StatusStore
from catalog_svc.usecases.sync_hub import SyncHub
from catalog_svc.usecases.watch_pacing import WatchLimits
from catalog_svc.usecases.watch_sync import WatchSync
from connector_svc.domain.fetch import WaitReporter
from connector_svc.domain.product import Product, Variant
from connector_svc.rpc.requests import Platforms
from connector_svc.rpc.servicer import ConnectorServicer
from tests.fakes.listed_platform import ListedPlatform
from tests.integration.catalog_svc.conftest import CatalogWorld
from tests.integration.catalog_svc.plans import plans_of, recorded
from tests.pgbouncer import is_pooled
from tests.waiting import TIMEOUT_SECONDS, until, until_found

SCHEDULED = SyncTrigger.SCHEDULE


async def create(world: CatalogWorld, name: str, platform: str = "shopify", **more: Any) -> Sync:
    return await world.create_sync(ShopKey(platform, f"{name}.example"), **more)


async def position(world: CatalogWorld, sync: Sync) -> int | None:
    return (await world.syncs.get(sync.sync_id)).queue_position


async def fill_queue(world: CatalogWorld, count: int, *, platform: str = "shopify") -> list[UUID]:
    """Queue so many syncs that were never claimed, without their shops."""
    shop_ids = [new_shop_id() for _ in range(count)]
    sync_ids = [sync_id_of(shop_id, 1) for shop_id in shop_ids]
    await world.execute(
        """INSERT INTO sync_queue (shop_id, sync_id, platform, mode, priority, epoch)
        SELECT shop_id, sync_id, :platform, 'FULL', 0, 0
        FROM unnest(CAST(:shop_ids AS uuid[]), CAST(:sync_ids AS uuid[])) AS queued (shop_id, sync_id)""",
        shop_ids=shop_ids,
        sync_ids=sync_ids,
        platform=platform,
    )
    return sync_ids


async def test_a_start_tells_how_many_syncs_of_the_platform_come_first(world: CatalogWorld) -> None:
    syncs = [await create(world, f"shop{n}") for n in range(3)]
    other = await create(world, "shop0", "woocommerce")
    assert [sync.queue_position for sync in (*syncs, other)] == [0, 1, 2, 0]


async def test_syncs_of_people_come_before_scheduled_ones(world: CatalogWorld) -> None:
    scheduled = await create(world, "a", trigger=SCHEDULED)
    requested = await create(world, "b")
    assert await position(world, scheduled) == 1
    assert await position(world, requested) == requested.queue_position == 0


async def test_a_claim_moves_the_others_up_and_leaves_a_running_sync_without_a_position(
    world: CatalogWorld,
) -> None:
    first, second, third = [await create(world, name) for name in "abc"]
    claimed = await world.claim()
    assert claimed.sync.sync_id == first.sync_id
    assert [await position(world, sync) for sync in (first, second, third)] == [None, 0, 1]
    cancelled = await world.commands.cancel(second.sync_id)
    assert cancelled.queue_position is None
    assert await position(world, third) == 0


async def test_a_sync_whose_worker_died_is_claimed_before_those_that_came_later(world: CatalogWorld) -> None:
    first, second = [await create(world, name) for name in "ab"]
    await world.claim()
    await world.expire_lease(first.sync_id)
    assert await position(world, second) == 1


async def test_all_reads_show_the_same_position(world: CatalogWorld) -> None:
    await create(world, "first")
    created = await create(world, "second")
    shop = created.shop
    status = await StatusStore(Database(world.engine)).get(shop, ScheduleDefaults())
    (of_shop,) = await world.syncs.page(shop=shop, states=(), before=None, limit=10)
    of_all = await world.syncs.page(shop=None, states=(), before=None, limit=10)
    (of_many,) = await world.syncs.get_many([created.sync_id])
    found = (created, await world.syncs.get(created.sync_id), status.syncs.active, of_shop, of_all[0], of_many)
    assert [sync.queue_position for sync in found if sync] == [1] * 6
    assert [sync.queue_position for sync in of_all] == [1, 0]


async def test_a_repeated_start_shows_the_present_position(world: CatalogWorld) -> None:
    await create(world, "first")
    created = await create(world, "second", request_id="r")
    await world.claim()
    repeated = await create(world, "second", request_id="r")
    assert (created.queue_position, repeated.queue_position) == (1, 0)


@pytest.mark.needs_session("plans are explained on a connection of their own")
async def test_a_position_is_capped_and_read_by_an_index_range(world: CatalogWorld, engine: AsyncEngine) -> None:
    queued = await fill_queue(world, 5_000)
    await fill_queue(world, 5_000, platform="woocommerce")
    await world.execute("ANALYZE sync_queue")
    wanted = [queued[0], queued[999], queued[1_000], queued[-1]]
    with recorded(engine) as statements:
        positions = await world.syncs.queue_positions(wanted)
    assert [positions[sync_id] for sync_id in wanted] == [0, 999, MAX_QUEUE_POSITION, MAX_QUEUE_POSITION]
    (plan,) = await plans_of(engine, statements, "queue_positions")
    assert '"Index Name": "sync_queue_order"' in plan.text
    assert plan.full_scans == ()


async def test_a_watcher_of_a_pending_sync_gets_its_present_position_without_a_new_revision(
    world: CatalogWorld,
) -> None:
    first, watched = [await create(world, name) for name in "ab"]
    hub = SyncHub(world.syncs, poll_interval=timedelta(milliseconds=20), queue_interval=timedelta())
    watch = WatchSync(
        hub=hub,
        drain=world.drain,
        metrics=NullDeliveryMetrics(),
        limits=WatchLimits(heartbeat_every=timedelta(milliseconds=50)),
    )
    async with (
        asyncio.timeout(TIMEOUT_SECONDS),
        polling(hub, world),
        aclosing(watch(watched.sync_id, 0)) as snapshots,
    ):
        shown = await anext(snapshots)
        assert (shown.sync.queue_position, shown.heartbeat) == (1, False)
        await world.commands.cancel(first.sync_id)
        while shown.sync.queue_position != 0:
            shown = await anext(snapshots)
        assert (shown.sync.revision, shown.heartbeat) == (watched.revision, True)
        await world.claim()
        while shown.sync.queue_position is not None:
            shown = await anext(snapshots)
        assert (shown.sync.revision > watched.revision, shown.heartbeat) == (True, False)


async def test_one_query_reads_the_positions_of_all_watched_syncs_and_running_ones_need_none(
    world: CatalogWorld, engine: AsyncEngine
) -> None:
    syncs = [await create(world, f"shop{n}") for n in range(5)]
    hub = SyncHub(world.syncs, poll_interval=timedelta(milliseconds=20), queue_interval=timedelta())
    with ExitStack() as subscriptions:
        topics = [subscriptions.enter_context(hub.subscribe(sync.sync_id)) for sync in syncs]
        statements = subscriptions.enter_context(recorded(engine))

        def queries() -> int:
            return sum("queue_positions" in statement.sql for statement in statements)

        async with polling(hub, world):
            await until(lambda: queries() >= 3)
        assert [(await topic.current()).queue_position for topic in topics] == [0, 1, 2, 3, 4]
        for _ in syncs:
            hub.publish((await world.claim()).sync)
        statements.clear()
        polls = count_polls(world)
        async with polling(hub, world):
            await until(lambda: len(polls) >= 3)
        assert queries() == 0


@asynccontextmanager
async def polling(hub: SyncHub, world: CatalogWorld) -> AsyncIterator[None]:
    task = asyncio.create_task(hub.run(world.drain))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def count_polls(world: CatalogWorld) -> list[int]:
    """Return the number of watched syncs of each poll from now on."""
    polls: list[int] = []
    original = world.syncs.changed_revisions

    async def counted(known: Mapping[UUID, int]) -> dict[UUID, int | None]:
        polls.append(len(known))
        return await original(known)

    world.syncs.changed_revisions = counted  # type: ignore[method-assign]
    return polls


# -- over gRPC


async def test_clients_see_the_position_in_every_reply_until_a_worker_claims_the_sync(database_url: str) -> None:
    unblocked = asyncio.Event()

    async def wait(_on_wait: WaitReporter) -> None:
        await unblocked.wait()

    platform = ListedPlatform(
        products=[Product(id="1", title="", variants=(Variant(id="1-1"),))], before_each=wait
    )
    async with connector_of(platform) as connector, catalog_of(database_url, connector) as catalog:
        running, *waiting = [await started(catalog, f"{name}.example") for name in "abcd"]
        await until_found(lambda: running_sync(catalog, running.sync_id))
        ids = [sync.sync_id for sync in waiting]

        got = [(await catalog.GetSync(pb.GetSyncRequest(sync_id=sync_id))).sync for sync_id in ids]
        listed = (await catalog.ListSyncs(pb.ListSyncsRequest(states=[pb.Sync.STATE_PENDING]))).syncs
        status = await catalog.GetStatus(pb.GetStatusRequest(shop=shop_ref("d.example")))
        call = catalog.WatchSync(pb.WatchSyncRequest(sync_id=ids[1]))
        watched = [message async for message in first_and_heartbeat(call)]
        assert [sync.queue_position for sync in got] == [0, 1, 2]
        assert [sync.queue_position for sync in reversed(listed)] == [0, 1, 2]
        assert status.active_sync.queue_position == 2
        assert [message.sync.queue_position for message in watched] == [1, 1]
        assert [message.heartbeat for message in watched] == [False, True]
        active = (await catalog.GetSync(pb.GetSyncRequest(sync_id=running.sync_id))).sync
        assert not active.HasField("queue_position")

        unblocked.set()
        async with asyncio.timeout(TIMEOUT_SECONDS):
            last = [message async for message in catalog.WatchSync(pb.WatchSyncRequest(sync_id=ids[2]))][-1].sync
        assert (last.state, last.HasField("queue_position")) == (pb.Sync.STATE_SUCCEEDED, False)


def shop_ref(domain: str) -> pb.ShopRef:
    return pb.ShopRef(platform="listed", domain=domain)


async def started(catalog: CatalogServiceStub, domain: str) -> pb.Sync:
    sync = (await catalog.StartSync(pb.StartSyncRequest(shop=shop_ref(domain)))).sync
    assert sync.HasField("queue_position")
    return sync


async def running_sync(catalog: CatalogServiceStub, sync_id: str) -> pb.Sync | None:
    sync = (await catalog.GetSync(pb.GetSyncRequest(sync_id=sync_id))).sync
    return sync if sync.state == pb.Sync.STATE_RUNNING else None


async def first_and_heartbeat(
    call: grpc.aio.UnaryStreamCall[pb.WatchSyncRequest, pb.WatchSyncResponse],
) -> AsyncIterator[pb.WatchSyncResponse]:
    async for message in call:
        yield message
        if message.heartbeat:
            call.cancel()
            return


@asynccontextmanager
async def connector_of(platform: ListedPlatform) -> AsyncIterator[str]:
    server = grpc.aio.server(interceptors=(CallInterceptor(),), options=(("grpc.so_reuseport", 0),))
    servicer = ConnectorServicer(Platforms([platform]), drain=Drain(), redact=str)
    add_ConnectorServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


@asynccontextmanager
async def catalog_of(database_url: str, connector: str) -> AsyncIterator[CatalogServiceStub]:
    """Yield a client of a replica that runs one sync at a time."""
    settings = CatalogSettings(
        database_url=SecretStr(database_url),
        database_pooled=is_pooled(database_url),
        listen_address=ListenAddress("127.0.0.1:0"),
        connector_address=connector,
        max_running_syncs=1,
        heartbeat_interval=timedelta(milliseconds=500),
    )
    async with bootstrap.running(settings) as port, open_channel(f"127.0.0.1:{port}") as channel:
        yield CatalogServiceStub(channel)
