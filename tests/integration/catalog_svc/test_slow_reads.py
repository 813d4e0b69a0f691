"""Reads that do not finish fail for their own callers and affect nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import grpc
import pytest
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from catalogsync_common.channel import open_channel
from catalogsync_common.settings import ListenAddress
from catalogsync_common.status import read_failure_now
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pydantic import SecretStr
from sqlalchemy import text

from catalog_svc import bootstrap
from catalog_svc.settings import CatalogSettings
from tests.fakes.product_source import MemorySource, product
from tests.integration.catalog_svc.conftest import SHOP, CatalogWorld
from tests.pgbouncer import is_pooled
from tests.waiting import until_found

LIST = pb.ListItemsRequest(shop=pb.ShopRef(platform=SHOP.platform, domain=SHOP.domain))


@asynccontextmanager
async def service(database_url: str) -> AsyncIterator[grpc.aio.Channel]:
    settings = CatalogSettings(
        database_url=SecretStr(database_url),
        database_pooled=is_pooled(database_url),
        listen_address=ListenAddress("127.0.0.1:0"),
        connector_address="127.0.0.1:1",
        stop_grace=timedelta(seconds=1),
        database_read_pool_size=2,
    )
    async with bootstrap.running(settings) as port, open_channel(f"127.0.0.1:{port}") as channel:
        yield channel


@asynccontextmanager
async def unreadable_items(world: CatalogWorld) -> AsyncIterator[None]:
    """Make queries of items wait for a lock until the context ends."""
    async with world.owner.connect() as connection:
        await connection.execute(text("LOCK TABLE item IN ACCESS EXCLUSIVE MODE"))
        await connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        yield
        await connection.rollback()


async def waiting_queries(world: CatalogWorld) -> int:
    rows = await world.rows("""
        SELECT count(*) AS n FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'""")
    return int(rows[0]["n"])


async def until_waiting(world: CatalogWorld, count: int) -> None:
    async def as_many() -> bool | None:
        return True if await waiting_queries(world) == count else None

    await until_found(as_many)


async def test_a_read_that_takes_longer_than_its_caller_waits_fails_as_too_expensive(
    world: CatalogWorld, database_url: str
) -> None:
    await world.sync(MemorySource([product("1")]))
    async with service(database_url) as channel, unreadable_items(world):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await CatalogServiceStub(channel).ListItems(LIST, timeout=3)
    failure = read_failure_now(caught.value)
    assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUERY_TOO_EXPENSIVE")
    assert failure.retry_after is None
    assert failure.message == "the query takes too long; narrow its filter"


async def test_the_query_of_a_cancelled_call_ends(world: CatalogWorld, database_url: str) -> None:
    await world.sync(MemorySource([product("1")]))
    async with service(database_url) as channel, unreadable_items(world):
        calls = [CatalogServiceStub(channel).ListItems(LIST) for _ in range(2)]
        await until_waiting(world, 2)
        for call in calls:
            call.cancel()
        await until_waiting(world, 0)


async def test_slow_reads_delay_neither_syncs_nor_health(world: CatalogWorld, database_url: str) -> None:
    await world.sync(MemorySource([product("1")]))
    async with service(database_url) as channel, unreadable_items(world):
        stub = CatalogServiceStub(channel)
        readers = [asyncio.ensure_future(stub.ListItems(LIST)) for _ in range(20)]
        await until_waiting(world, 2)
        started = await stub.StartSync(pb.StartSyncRequest(shop=LIST.shop), timeout=30)
        states: list[int] = []
        async for message in stub.WatchSync(pb.WatchSyncRequest(sync_id=started.sync.sync_id), timeout=30):
            states.append(message.sync.state)
            if pb.Sync.STATE_RUNNING in states:
                break
        assert states[-1] == pb.Sync.STATE_RUNNING
        health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
