"""One sync as a client lives through it, each step timed."""

from __future__ import annotations

import time
from contextlib import aclosing
from dataclasses import dataclass
from uuid import uuid4

from catalogsync.catalog.v1.catalog_service_pb2 import Sync
from catalogsync_cli.client import CatalogClient

from bench.common.measure import BenchFailed
from bench.common.store import ServedShop


@dataclass(frozen=True, kw_only=True, slots=True)
class Ordered:
    """A sync from its order to its end; seconds after StartSync was called."""

    sync_id: str
    called: float
    """Unix time of the call."""
    answered: float
    first_event: float
    """At a watcher who attached with the answer and knew what it said."""
    ended: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Cancelled:
    """A running sync that was cancelled; seconds."""

    start_answered: float
    """Of the StartSync before."""
    answered: float
    seen: float
    """From the call of CancelSync to the terminal snapshot at a watcher."""


async def ordered(client: CatalogClient, shop: ServedShop) -> Ordered:
    """A whole sync. Raises BenchFailed unless it succeeds."""
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
    return Ordered(
        sync_id=sync.sync_id,
        called=called,
        answered=answered - begin,
        first_event=first_event - begin,
        ended=time.perf_counter() - begin,
    )


async def cancelled(client: CatalogClient, shop: ServedShop) -> Cancelled:
    """A sync of a shop so slow that it runs until it is cancelled. Raises BenchFailed when it ends otherwise."""
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
    return Cancelled(start_answered=start_answered, answered=answered, seen=time.perf_counter() - begin)


async def _start(client: CatalogClient, shop: ServedShop) -> Sync:
    return await client.start_sync(shop.name, mode=Sync.MODE_FULL, request_id=str(uuid4()))
