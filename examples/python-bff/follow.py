"""Starts a sync of a shop and watches it until it ends, with the generated stubs, as a BFF does.

Usage: python follow.py shopify:demo.myshopify.com
Requires a running catalog, and the .venv that `make demo` creates (elsewhere: `pip install CHECKOUT/gen`).
CATALOG_ADDRESS is the address of one replica, or of several: ipv4:10.0.0.1:50051,10.0.0.2:50051.
CATALOG_SERVICE_SECRET is this service's "name:secret", one of CATALOG_SERVICE_SECRETS; `make demo` prints its own.
CATALOG_CA_FILE is the CA of the catalog's certificate; without it the connection is not encrypted.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import AsyncIterator
from importlib.resources import files
from itertools import count
from pathlib import Path
from uuid import uuid4

import grpc
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from google.rpc import error_details_pb2, status_pb2

ENDED = (pb.Sync.STATE_SUCCEEDED, pb.Sync.STATE_FAILED, pb.Sync.STATE_CANCELLED)
RETRYABLE_CODES = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.RESOURCE_EXHAUSTED)
MAX_START_ATTEMPTS = 5
STALL_SECONDS = 60.0  # Two heartbeats: the server sends one at least every 30 s.
CHANNEL_OPTIONS = (
    # A connection to a dead or frozen replica is dropped after 40 s, and calls go to another replica.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.service_config", files("catalogsync").joinpath("service_config.json").read_text()),
)


def credentials() -> tuple[tuple[str, str], ...]:
    """Return the metadata that authenticates this service, which acts for all shops.

    A BFF checks which merchant is logged in before it calls, or sends a token of that merchant instead
    (`authorization: Bearer ...`, see docs/security.md): then the catalog checks it, too.
    """
    secret = os.environ.get("CATALOG_SERVICE_SECRET")
    return (("x-service-secret", secret),) if secret else ()


def open_channel() -> grpc.aio.Channel:
    """Return a channel to the catalog."""
    address = os.environ.get("CATALOG_ADDRESS", "127.0.0.1:50051")
    ca_file = os.environ.get("CATALOG_CA_FILE")
    if not ca_file:
        return grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
    tls = grpc.ssl_channel_credentials(root_certificates=Path(ca_file).read_bytes())
    return grpc.aio.secure_channel(address, tls, options=CHANNEL_OPTIONS)


async def start(catalog: CatalogServiceStub, shop: pb.ShopRef) -> str:
    """Start a sync and return its id, or the id of the sync that is already running."""
    # The request_id makes repeated calls start one sync. gRPC does not see that, so the service config does not
    # repeat StartSync.
    request = pb.StartSyncRequest(shop=shop, request_id=str(uuid4()))
    for attempt in count(1):
        try:
            return (await catalog.StartSync(request, metadata=credentials())).sync.sync_id
        except grpc.aio.AioRpcError as error:
            info = error_info(error)
            if info.reason == "SYNC_ALREADY_RUNNING":
                return str(info.metadata["sync_id"])
            if error.code() is not grpc.StatusCode.UNAVAILABLE or attempt == MAX_START_ATTEMPTS:
                raise
        await asyncio.sleep(random.uniform(0, 0.5 * 2**attempt))
    raise AssertionError("unreachable")


async def watch(
    catalog: CatalogServiceStub, sync_id: str, *, stall_seconds: float = STALL_SECONDS
) -> AsyncIterator[pb.Sync]:
    """Yield snapshots up to the terminal one; if a stream ends before it, call again with the last revision."""
    revision = 0
    while True:
        reconnect = False
        request = pb.WatchSyncRequest(sync_id=sync_id, after_revision=revision)
        call = catalog.WatchSync(request, metadata=credentials())
        try:
            while isinstance(message := await read(call, stall_seconds), pb.WatchSyncResponse):
                revision = message.sync.revision
                # The place in the queue changes without a new revision: heartbeats show it.
                if not message.heartbeat or message.sync.HasField("queue_position"):
                    yield message.sync
                if message.sync.state in ENDED:
                    return
                # Set in the last message of a stream that reached its maximum age, or whose replica shuts down.
                reconnect = message.reconnect_reason != pb.WatchSyncResponse.RECONNECT_REASON_UNSPECIFIED
        except grpc.aio.AioRpcError as error:
            if error.code() not in RETRYABLE_CODES:
                raise
        except TimeoutError:
            pass
        finally:
            call.cancel()
        if not reconnect:
            await asyncio.sleep(random.uniform(0.2, 2))


async def read(
    call: grpc.aio.UnaryStreamCall[pb.WatchSyncRequest, pb.WatchSyncResponse], stall_seconds: float
) -> object:
    """Return the next message, or gRPC's EOF marker. Raise TimeoutError when none arrives for `stall_seconds`."""
    async with asyncio.timeout(stall_seconds):
        return await call.read()


def error_info(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo:
    """Return the ErrorInfo of an error, which has its stable reason."""
    info = error_details_pb2.ErrorInfo()
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            for detail in status_pb2.Status.FromString(value).details:
                detail.Unpack(info)
    return info


def line(sync: pb.Sync) -> str:
    """Return the state and progress of the sync, as a merchant would read it."""
    progress = sync.progress
    counts = (progress.products, progress.items)
    changed = sum(each.created_count + each.updated_count + each.deleted_count for each in counts)
    rejected = sum(each.rejected_count for each in counts)
    incremental = sync.mode == pb.Sync.MODE_INCREMENTAL
    succeeded = sync.state == pb.Sync.STATE_SUCCEEDED
    if incremental and succeeded and not changed and not rejected:
        since = f"{sync.changes_since_time.ToDatetime():%Y-%m-%d %H:%M:%SZ}"
        text = f"nothing changed since {since}, {progress.products.seen_count} products compared"
    elif incremental:
        text = f"{progress.items.seen_count} changed items read"
    else:
        # What a sync that SUCCEEDED has read is all that there is, whatever was estimated.
        estimate = 0 if succeeded else progress.estimated_item_count
        text = f"{progress.items.seen_count}{f' of about {estimate}' if estimate else ''} items read"
    text += f", {rejected} records rejected" if rejected else ""
    text += f", {progress.checked_product_count} products checked" if progress.checked_product_count else ""
    text += f", waiting: {sync.waiting.message}" if sync.HasField("waiting") else ""
    if sync.HasField("queue_position"):  # Only while PENDING.
        text = f"waiting for a worker, {sync.queue_position} before it"
    return f"{pb.Sync.State.Name(sync.state)}: {text}"


async def main(shop_name: str) -> int:
    """Sync the shop and return the exit code: 0 if the sync succeeded."""
    platform, _, domain = shop_name.partition(":")
    async with open_channel() as channel:
        catalog = CatalogServiceStub(channel)
        sync_id = await start(catalog, pb.ShopRef(platform=platform, domain=domain))
        async for sync in watch(catalog, sync_id):
            print(line(sync), flush=True)
    for note in sync.notes:
        print(f"note: {note}")
    if sync.HasField("error"):
        print(sync.error.message, file=sys.stderr)  # Begins with the reason.
    return 0 if sync.state == pb.Sync.STATE_SUCCEEDED else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:2] or ["shopify:demo.myshopify.com"])))
