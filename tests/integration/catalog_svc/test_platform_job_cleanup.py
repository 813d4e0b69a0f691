"""A cancel also cancels the job that the platform runs for the sync, in the background."""

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
from catalog_svc.metrics import NullSyncMetrics
from catalog_svc.source.connector_client import ConnectorJobs, ConnectorSource
from catalog_svc.usecases.ports import PlatformJobs
from catalog_svc.usecases.sync_commands import ChangeSync, PlatformJobCleanup
from connector_svc.domain.fetch import WaitReporter
from connector_svc.domain.product import Product, Variant
from connector_svc.rpc.requests import Platforms
from connector_svc.rpc.servicer import ConnectorServicer
from tests.fakes.listed_platform import ListedPlatform
from tests.integration.catalog_svc.conftest import CatalogWorld, until
from tests.waiting import TIMEOUT_SECONDS, until_stable

SHOP = ShopKey("listed", "store.example")
PRODUCTS = [Product(id=str(n), title="", variants=(Variant(id=f"{n}-1"),)) for n in range(600)]
SHOP_NOT_FOUND = SourceFailed(reason="SOURCE_NOT_FOUND", message="the shop is gone", transient=False)


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
async def cleanup_running(
    world: CatalogWorld, jobs: PlatformJobs, *, timeout_seconds: float = 30
) -> AsyncIterator[PlatformJobCleanup]:
    drain = Drain()
    cleanup = PlatformJobCleanup(
        syncs=world.syncs,
        jobs=jobs,
        drain=drain,
        timeout=timedelta(seconds=timeout_seconds),
        retry_delay=timedelta(milliseconds=10),
    )
    running = asyncio.create_task(cleanup.run())
    yield cleanup
    drain.start()
    await running


@dataclass(kw_only=True, slots=True)
class Jobs:
    """`PlatformJobs` with scripted answers."""

    answers: list[bool | Exception] = field(default_factory=list)
    checkpoints: list[bytes] = field(default_factory=list)

    async def cancel_fetch(self, shop: ShopKey, checkpoint: bytes) -> bool:
        self.checkpoints.append(checkpoint)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def cancelled_sync(world: CatalogWorld) -> Sync:
    """A cancelled sync that had stored a batch."""
    created = await world.create_sync()
    claimed = await world.claim()
    await world.execute(
        "UPDATE sync SET checkpoint = :checkpoint WHERE sync_id = :sync_id",
        checkpoint=b"after the first batch",
        sync_id=claimed.sync.sync_id,
    )
    return await world.commands.cancel(created.sync_id)


async def test_a_cancelled_sync_cancels_its_platform_job(world: CatalogWorld) -> None:
    """Through both services: the platform gets a checkpoint that it has delivered."""
    cancelled = asyncio.Event()

    async def slowly(_: WaitReporter) -> None:
        if len(platform.yielded) > 1:
            await cancelled.wait()

    platform = ListedPlatform(products=PRODUCTS, job_running=True, before_each=slowly)
    async with connector(platform) as channel, cleanup_running(world, ConnectorJobs(channel)) as cleanup:
        created = await world.create_sync(SHOP)
        run = asyncio.create_task(world.supervisor(ConnectorSource(channel)).run(await world.claim()))
        await until(lambda: any(sync.progress.products.seen for sync in world.published))
        changes = ChangeSync(
            commands=world.commands,
            publish=world.hub.publish,
            cancel_platform_job=cleanup.start,
            wake_worker=lambda: None,
            metrics=NullSyncMetrics(),
        )
        await changes.cancel(created.sync_id)
        await until(lambda: not platform.job_running)
        cancelled.set()
        await run
    delivered = [event.checkpoint for event in platform.yielded if hasattr(event, "checkpoint")]
    assert set(platform.cancelled_checkpoints) <= set(delivered)


async def test_an_unavailable_connector_is_retried(world: CatalogWorld) -> None:
    jobs = Jobs(answers=[ConnectorUnavailable(), ConnectorUnavailable(), True])
    sync = await cancelled_sync(world)
    async with cleanup_running(world, jobs) as cleanup:
        cleanup.start(sync)
        await until(lambda: not jobs.answers)
    assert jobs.checkpoints == [b"after the first batch"] * 3


async def test_a_job_that_cannot_be_cancelled_is_logged_and_not_retried(
    world: CatalogWorld, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = Jobs(answers=[SHOP_NOT_FOUND])
    sync = await cancelled_sync(world)
    async with cleanup_running(world, jobs) as cleanup:
        cleanup.start(sync)
        await until(lambda: "may keep running" in caplog.text)
    assert len(jobs.checkpoints) == 1


async def test_a_sync_that_stored_nothing_has_no_job(world: CatalogWorld) -> None:
    created = await world.create_sync()
    sync = await world.commands.cancel(created.sync_id)
    jobs = Jobs()
    async with cleanup_running(world, jobs) as cleanup:
        cleanup.start(sync)
        await until(lambda: not cleanup._tasks)
    assert jobs.checkpoints == []


async def test_a_draining_replica_does_not_wait_for_a_platform(world: CatalogWorld) -> None:
    jobs = Jobs(answers=[ConnectorUnavailable() for _ in range(100_000)])
    sync = await cancelled_sync(world)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        async with cleanup_running(world, jobs, timeout_seconds=3600) as cleanup:
            cleanup.start(sync)
            await until(lambda: bool(jobs.checkpoints))
    seen = len(jobs.checkpoints)
    assert await until_stable(lambda: len(jobs.checkpoints)) == seen


async def test_a_repeated_cancel_keeps_the_job_of_the_sync_that_was_resumed_since(
    world: CatalogWorld, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = Jobs(answers=[True])
    cancelled = await cancelled_sync(world)
    resumed = await world.commands.resume(cancelled.sync_id, request_id="", correlation_id="")
    repeated = await world.commands.cancel(cancelled.sync_id)
    with caplog.at_level(logging.INFO):
        async with cleanup_running(world, jobs) as cleanup:
            cleanup.start(repeated)
            await until(lambda: "is kept for the resumed sync" in caplog.text)
            assert jobs.checkpoints == []
            cleanup.start(await world.commands.cancel(resumed.sync_id))
            await until(lambda: bool(jobs.checkpoints))
    assert jobs.answers == []
