"""A cancel reaches what the platform runs for the sync, and keeps nobody waiting."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import grpc
import pytest
from catalogsync.connector.v1.connector_service_pb2_grpc import add_ConnectorServiceServicer_to_server
from catalogsync_common.channel import open_channel
from catalogsync_common.drain import Drain
from catalogsync_common.interceptor import CallInterceptor

from catalog_svc.domain.errors import ConnectorUnavailable, SourceFailed
from catalog_svc.domain.shop import ShopKey
from catalog_svc.domain.sync import Sync
from catalog_svc.source.connector import ConnectorSource
from catalog_svc.source.jobs import ConnectorJobs
from catalog_svc.usecases.change_sync import ChangeSync
from catalog_svc.usecases.platform_job_cleanup import PlatformJobCleanup
from catalog_svc.usecases.ports import PlatformJobs
from connector_svc.domain.fetch import WaitReporter
from connector_svc.domain.product import Product, Variant
from connector_svc.rpc.requests import Platforms
from connector_svc.rpc.servicer import ConnectorServicer
from tests.fakes.listed_platform import ListedPlatform
from tests.integration.catalog_svc.conftest import CatalogWorld, until
from tests.waiting import PATIENCE, settled

SHOP = ShopKey("listed", "store.example")
PRODUCTS = [Product(id=str(n), title="", variants=(Variant(id=f"{n}-1"),)) for n in range(600)]
GONE = SourceFailed(reason="SOURCE_NOT_FOUND", message="the shop is gone", transient=False)


@asynccontextmanager
async def connector(platform: ListedPlatform) -> AsyncIterator[grpc.aio.Channel]:
    server = grpc.aio.server(interceptors=(CallInterceptor(),), options=(("grpc.so_reuseport", 0),))
    servicer = ConnectorServicer(Platforms([platform]), drain=Drain(), redact=str)
    add_ConnectorServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with open_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(None)


@asynccontextmanager
async def abandoning(
    world: CatalogWorld, jobs: PlatformJobs, *, patience: float = 30
) -> AsyncIterator[PlatformJobCleanup]:
    drain = Drain()
    cleanup = PlatformJobCleanup(
        syncs=world.syncs,
        jobs=jobs,
        drain=drain,
        patience=timedelta(seconds=patience),
        pause=timedelta(milliseconds=10),
    )
    running = asyncio.create_task(cleanup.run())
    yield cleanup
    drain.start()
    await running


@dataclass(kw_only=True, slots=True)
class Jobs:
    """`PlatformJobs` that say what they are told to."""

    answers: list[bool | Exception] = field(default_factory=list)
    asked: list[bytes] = field(default_factory=list)

    async def cancel_fetch(self, shop: ShopKey, checkpoint: bytes) -> bool:
        self.asked.append(checkpoint)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def stopped(world: CatalogWorld) -> Sync:
    """A cancelled sync that had stored a batch."""
    ordered = await world.order()
    claimed = await world.claim()
    await world.execute(
        "UPDATE sync SET checkpoint = :checkpoint WHERE sync_id = :sync_id",
        checkpoint=b"after the first batch",
        sync_id=claimed.sync.sync_id,
    )
    return await world.commands.cancel(ordered.sync_id)


async def test_a_cancelled_sync_ends_its_platforms_job(world: CatalogWorld) -> None:
    """Through both services: the platform gets the very checkpoint that it gave."""
    cancelled = asyncio.Event()

    async def slowly(_: WaitReporter) -> None:
        if len(platform.yielded) > 1:
            await cancelled.wait()

    platform = ListedPlatform(products=PRODUCTS, job_running=True, before_each=slowly)
    async with connector(platform) as channel, abandoning(world, ConnectorJobs(channel)) as cleanup:
        ordered = await world.order(SHOP)
        run = asyncio.create_task(world.runner(ConnectorSource(channel)).run(await world.claim()))
        await until(lambda: any(sync.progress.products.seen for sync in world.published))
        changes = ChangeSync(
            commands=world.commands,
            publish=world.feed.publish,
            cancel_platform_job=cleanup.start,
            wake_worker=lambda: None,
        )
        await changes.cancel(ordered.sync_id)
        await until(lambda: not platform.job_running)
        cancelled.set()
        await run
    delivered = [event.checkpoint for event in platform.yielded if hasattr(event, "checkpoint")]
    assert set(platform.cancelled_checkpoints) <= set(delivered)


async def test_a_connector_that_is_away_is_asked_again(world: CatalogWorld) -> None:
    jobs = Jobs(answers=[ConnectorUnavailable(), ConnectorUnavailable(), True])
    sync = await stopped(world)
    async with abandoning(world, jobs) as cleanup:
        cleanup.start(sync)
        await until(lambda: not jobs.answers)
    assert jobs.asked == [b"after the first batch"] * 3


async def test_what_cannot_be_ended_is_left_to_itself_and_said(
    world: CatalogWorld, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = Jobs(answers=[GONE])
    sync = await stopped(world)
    async with abandoning(world, jobs) as cleanup:
        cleanup.start(sync)
        await until(lambda: "may run on" in caplog.text)
    assert len(jobs.asked) == 1


async def test_a_sync_that_stored_nothing_has_no_job(world: CatalogWorld) -> None:
    ordered = await world.order()
    sync = await world.commands.cancel(ordered.sync_id)
    jobs = Jobs()
    async with abandoning(world, jobs) as cleanup:
        cleanup.start(sync)
        await until(lambda: not cleanup._tasks)
    assert jobs.asked == []


async def test_a_replica_that_goes_down_does_not_wait_for_a_platform(world: CatalogWorld) -> None:
    jobs = Jobs(answers=[ConnectorUnavailable() for _ in range(100_000)])
    sync = await stopped(world)
    async with asyncio.timeout(PATIENCE):
        async with abandoning(world, jobs, patience=3600) as cleanup:
            cleanup.start(sync)
            await until(lambda: bool(jobs.asked))
    asked = len(jobs.asked)
    assert await settled(lambda: len(jobs.asked)) == asked


async def test_a_repeated_cancel_leaves_the_job_to_the_sync_that_was_resumed_since(
    world: CatalogWorld, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = Jobs(answers=[True])
    cancelled = await stopped(world)
    resumed = await world.commands.resume(cancelled.sync_id, request_id="", correlation_id="")
    repeated = await world.commands.cancel(cancelled.sync_id)
    with caplog.at_level(logging.INFO):
        async with abandoning(world, jobs) as cleanup:
            cleanup.start(repeated)
            await until(lambda: "is left to the resumed sync" in caplog.text)
            assert jobs.asked == []
            cleanup.start(await world.commands.cancel(resumed.sync_id))
            await until(lambda: bool(jobs.asked))
    assert jobs.answers == []
