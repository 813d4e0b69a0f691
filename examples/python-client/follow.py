"""Syncs a shop and watches the sync until it ends, with catalogsync-client.

Usage: python follow.py shopify:demo.myshopify.com
Requires a running catalog, and the .venv that `make demo` creates (elsewhere: `pip install CHECKOUT/gen
CHECKOUT/common CHECKOUT/clients/python`).
CATALOG_ADDRESS is the address of one replica, or of several: ipv4:10.0.0.1:50051,10.0.0.2:50051.
CATALOG_SERVICE_SECRET is this service's "name:secret", one of CATALOG_SERVICE_SECRETS; `make demo` prints its own.
CATALOG_CA_FILE is the CA of the catalog's certificate; without it the connection is not encrypted.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync_client import (
    CatalogClient,
    CatalogSyncError,
    ClientTls,
    NoCredentials,
    ServiceSecret,
    SyncNotSuccessful,
)


def open_client() -> CatalogClient:
    """Return a client of the catalog.

    This service acts for all shops: it checks which merchant is logged in before it calls. Or it sends a token of
    that merchant (`client.authenticated_by(BearerToken(...))`, see docs/security.md): then the catalog checks it.
    """
    secret = os.environ.get("CATALOG_SERVICE_SECRET")
    ca_file = os.environ.get("CATALOG_CA_FILE")
    return CatalogClient(
        os.environ.get("CATALOG_ADDRESS", "127.0.0.1:50051"),
        credentials=ServiceSecret(secret) if secret else NoCredentials(),
        tls=ClientTls.read(ca_file=Path(ca_file)) if ca_file else None,
    )


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


async def main(shop: str) -> int:
    """Sync the shop and return the exit code: 0 if the sync succeeded."""
    async with open_client() as client:
        try:
            sync = await client.sync_and_wait(shop, on_progress=lambda sync: print(line(sync), flush=True))
        except SyncNotSuccessful as error:
            print(error, file=sys.stderr)
            return 1
        except CatalogSyncError as error:
            print(f"{error}. {error.what_to_do}", file=sys.stderr)
            return 1
    for note in sync.notes:
        print(f"note: {note}")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:2] or ["shopify:demo.myshopify.com"])))
