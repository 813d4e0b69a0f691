"""Syncs all shops of the demo at once, and says whether what is stored is what the devstore has."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import dataclass
from uuid import uuid4

from catalogsync.catalog.v1.catalog_service_pb2 import GetStatusResponse, Sync
from catalogsync_cli.client import CatalogClient
from catalogsync_cli.errors import CallFailed
from catalogsync_cli.formatting import sanitize, state_name
from catalogsync_cli.watch_client import Disconnect
from catalogsync_cli.watch_view import ProgressView, disconnect_text
from rich.console import Console

from demo.stack import DemoShop


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How the sync of a shop ended, and how the shop stands after it."""

    shop: DemoShop
    sync: Sync
    status: GetStatusResponse

    @property
    def faults(self) -> list[str]:
        """What keeps the catalog from being complete; empty: it is."""
        found = []
        if self.sync.state != Sync.STATE_SUCCEEDED:
            message = sanitize(self.sync.error.message)
            found.append(f"its sync {state_name(self.sync)}{f': {message}' if message else ''}")
        counts = (
            ("products", self.status.product_count, self.shop.product_count),
            ("items", self.status.item_count, self.shop.item_count),
        )
        found += [
            f"{stored:,} {noun} are stored, the store has {truth:,}"
            for noun, stored, truth in counts
            if stored != truth
        ]
        return found


async def sync_all(catalog: CatalogClient, shops: Iterable[DemoShop], console: Console) -> list[Outcome]:
    """Runs a full sync of each shop, all at once, on one board. Raises CallFailed."""
    with ProgressView(console) as board:
        running = [asyncio.ensure_future(_sync_one(catalog, shop, board)) for shop in shops]
        try:
            ended = await asyncio.gather(*running)
        finally:
            for task in running:
                task.cancel()
    return [Outcome(shop=shop, sync=sync, status=await catalog.get_status(shop.name)) for shop, sync in ended]


async def _sync_one(client: CatalogClient, shop: DemoShop, board: ProgressView) -> tuple[DemoShop, Sync]:
    try:
        sync = await _start(client, shop)
    except CallFailed as error:
        active = error.failure.metadata.get("sync_id")
        if error.failure.reason != "SYNC_ALREADY_RUNNING" or active is None:
            raise
        # A demo that was cut short left it; catalog_svc has taken it up again.
        await _follow(client, await client.get_sync(active), board)
        sync = await _start(client, shop)
    return shop, await _follow(client, sync, board)


async def _start(client: CatalogClient, shop: DemoShop) -> Sync:
    return await client.start_sync(shop.name, mode=Sync.MODE_FULL, request_id=str(uuid4()))


async def _follow(client: CatalogClient, sync: Sync, board: ProgressView) -> Sync:
    board.update(sync)

    def on_connection(disconnect: Disconnect | None) -> None:
        board.set_note(sync.sync_id, disconnect_text(disconnect))

    last = sync
    watch = client.watch(sync.sync_id, after_revision=sync.revision, on_connection=on_connection)
    async with aclosing(watch) as snapshots:
        async for last in snapshots:
            board.update(last)
    return last
