"""A frozen replica keeps its connections open: watchers must detect it and continue with another replica."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from catalogsync.catalog.v1.catalog_service_pb2 import Shop, Sync
from catalogsync_client import CatalogClient, RetryPolicy
from catalogsync_common import channel

from tests.fakes.catalog_service import CatalogServer

ROOT = Path(__file__).parents[3]
HEARTBEAT_SECONDS = 30
"""The maximum interval, by the contract of WatchSync."""
STALL_SECONDS = 1.0


async def watch(address: str, sync_id: str) -> AsyncIterator[Sync]:
    retry_policy = RetryPolicy(stall_seconds=STALL_SECONDS, initial_backoff_seconds=0.05, max_backoff_seconds=0.2)
    async with CatalogClient(address) as client:
        async for sync in client.watch(sync_id, retry_policy=retry_policy):
            yield sync


@asynccontextmanager
async def other_process(sync: Sync) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """Yield another replica that serves the sync, and its port."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.fakes.catalog_process",
        sync.SerializeToString().hex(),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        yield process, int(await process.stdout.readline())
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.mark.parametrize("fault", [signal.SIGSTOP, signal.SIGKILL])
async def test_a_watch_leaves_a_dead_replica_and_continues_after_the_last_revision(
    server: CatalogServer, shop: Shop, fault: signal.Signals
) -> None:
    sync = server.fake.add_sync(shop, state=Sync.STATE_RUNNING)
    await server.kill()
    async with other_process(sync) as (process, port):
        seen = []
        async with asyncio.timeout(60):
            async for snapshot in watch(f"ipv4:127.0.0.1:{port},{server.address}", sync.sync_id):
                seen.append(snapshot.revision)
                if len(seen) == 1:
                    process.send_signal(fault)
                    await server.fake.change(sync.sync_id, state=Sync.STATE_SUCCEEDED)
                    await server.start()
    assert seen == [1, 2]
    requested = [request.after_revision for method, request, _ in server.fake.requests if method == "WatchSync"]
    assert set(requested) == {1}


def test_a_dead_connection_is_dropped_within_two_heartbeats() -> None:
    settings = dict(channel._OPTIONS)
    dropped_ms = int(settings["grpc.keepalive_time_ms"]) + int(settings["grpc.keepalive_timeout_ms"])
    assert dropped_ms <= 2 * HEARTBEAT_SECONDS * 1000
    # Otherwise gRPC sends at most one ping per minute on a connection without requests.
    assert settings["grpc.http2.max_pings_without_data"] == 0


def test_a_stream_counts_as_dead_after_two_missed_heartbeats() -> None:
    assert RetryPolicy().stall_seconds == 2 * HEARTBEAT_SECONDS
