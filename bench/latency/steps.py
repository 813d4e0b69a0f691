"""What the latency benchmark times: a whole sync, a cancelled sync, and health checks of a service."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

from catalogsync.catalog.v1.catalog_service_pb2 import Sync
from catalogsync_client import CatalogClient
from catalogsync_common.channel import open_channel
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench.common.measure import BenchFailed
from bench.common.store import ServedShop

_HEALTH_CHECK_INTERVAL_SECONDS = 0.01
_HEALTH_CHECK_TIMEOUT_SECONDS = 30


@dataclass(frozen=True, kw_only=True, slots=True)
class CompleteSync:
    """A sync that succeeded; times in seconds after StartSync was called."""

    sync_id: str
    called: float
    """Unix time of the call."""
    answered: float
    first_event: float
    """At a watcher that attached after the answer, from the revision in the answer on."""
    ended: float


@dataclass(frozen=True, kw_only=True, slots=True)
class CancelledSync:
    """A running sync that was cancelled; durations in seconds."""

    start_answered: float
    """Of its StartSync."""
    answered: float
    """Of CancelSync."""
    seen: float
    """From the call of CancelSync to the terminal snapshot at a watcher."""


async def run_sync(client: CatalogClient, shop: ServedShop) -> CompleteSync:
    """Run and time a whole sync. Raise BenchFailed unless it succeeds."""
    called, begin = time.time(), time.perf_counter()
    sync = await _start(client, shop)
    answered = time.perf_counter()
    first_event = 0.0
    async with aclosing(client.watch(sync.sync_id, after_revision=sync.revision)) as snapshots:
        async for snapshot in snapshots:
            first_event = first_event or time.perf_counter()
            sync = snapshot
    if sync.state != Sync.STATE_SUCCEEDED:
        raise BenchFailed(f"the sync of {shop.name} ended as {Sync.State.Name(sync.state)}: {sync.error.message}")
    return CompleteSync(
        sync_id=sync.sync_id,
        called=called,
        answered=answered - begin,
        first_event=first_event - begin,
        ended=time.perf_counter() - begin,
    )


async def cancel_sync(client: CatalogClient, shop: ServedShop) -> CancelledSync:
    """Start a sync, and cancel it once it runs.

    Args:
        client: Client of catalog_svc.
        shop: So slow that its sync runs until it is cancelled.

    Raises:
        BenchFailed: The sync ended otherwise.
    """
    begin = time.perf_counter()
    sync = await _start(client, shop)
    start_answered = time.perf_counter() - begin
    answered = 0.0
    async with aclosing(client.watch(sync.sync_id, after_revision=sync.revision)) as snapshots:
        async for snapshot in snapshots:
            sync = snapshot
            if sync.state == Sync.STATE_RUNNING and not answered:
                begin = time.perf_counter()
                await client.cancel_sync(sync.sync_id)
                answered = time.perf_counter() - begin
    if sync.state != Sync.STATE_CANCELLED:
        raise BenchFailed(f"the sync of {shop.name} ended as {Sync.State.Name(sync.state)}: {sync.error.message}")
    return CancelledSync(start_answered=start_answered, answered=answered, seen=time.perf_counter() - begin)


@asynccontextmanager
async def timed_health_checks(address: str) -> AsyncIterator[list[float]]:
    """Send a health check every 10 ms while the context lasts, and yield the list of their durations in seconds.

    A health check needs the event loop of the service alone, no database.
    """
    durations: list[float] = []

    async def check() -> None:
        async with open_channel(address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            while True:
                begin = time.perf_counter()
                await stub.Check(health_pb2.HealthCheckRequest(), timeout=_HEALTH_CHECK_TIMEOUT_SECONDS)
                durations.append(time.perf_counter() - begin)
                await asyncio.sleep(_HEALTH_CHECK_INTERVAL_SECONDS)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(check())
        yield durations
        task.cancel()


async def _start(client: CatalogClient, shop: ServedShop) -> Sync:
    return await client.start_sync(shop.name, mode=Sync.MODE_FULL, request_id=str(uuid4()))
