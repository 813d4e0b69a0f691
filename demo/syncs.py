"""Syncs all shops of the demo at once, and says whether what is stored is what the devstore has.

What the demo prints after the syncs: how the shops stand, some items, and how to look further."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from catalogsync.catalog.v1.catalog_service_pb2 import GetStatusResponse, ListItemsRequest, Sync
from catalogsync_cli.client import CatalogClient
from catalogsync_cli.commands.items import ITEM_COLUMNS, item_row
from catalogsync_cli.commands.shops import status_facts
from catalogsync_cli.failed import CallFailed
from catalogsync_cli.following import link_text
from catalogsync_cli.output import print_facts, print_table
from catalogsync_cli.progress import SyncBoard
from catalogsync_cli.watching import Break
from catalogsync_cli.wording import printable, state_name
from rich.console import Console

from demo.stack import CATALOG_SERVICE, DemoShop, Stack
from demo.workspace import Place


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
            message = printable(self.sync.error.message)
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
    with SyncBoard(console) as board:
        running = [asyncio.ensure_future(_sync_one(catalog, shop, board)) for shop in shops]
        try:
            ended = await asyncio.gather(*running)
        finally:
            for task in running:
                task.cancel()
    return [Outcome(shop=shop, sync=sync, status=await catalog.get_status(shop.name)) for shop, sync in ended]


async def _sync_one(client: CatalogClient, shop: DemoShop, board: SyncBoard) -> tuple[DemoShop, Sync]:
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


async def _follow(client: CatalogClient, sync: Sync, board: SyncBoard) -> Sync:
    board.show(sync)

    def tell(link: Break | None) -> None:
        board.note(sync.sync_id, link_text(link))

    last = sync
    async with aclosing(client.watch(sync.sync_id, after_revision=sync.revision, on_link=tell)) as snapshots:
        async for last in snapshots:
            board.show(last)
    return last


SHOWN_ITEMS = 5


async def show_catalogs(client: CatalogClient, outcomes: list[Outcome], console: Console) -> None:
    """Each shop's status and its first items."""
    for outcome in outcomes:
        console.print(str(outcome.shop.name), style="bold", markup=False, highlight=False, soft_wrap=True)
        print_facts(console, status_facts(outcome.status))
        console.print()
        request = ListItemsRequest(shop=outcome.shop.name.for_catalog(), page_size=SHOWN_ITEMS)
        page = await client.list_items(request)
        print_table(console, ITEM_COLUMNS, [item_row(item) for item in page.items])
        console.print()


def show_verdict(outcomes: list[Outcome], console: Console) -> bool:
    """Says of each shop whether its catalog is complete. Whether all are."""
    for outcome in outcomes:
        name = outcome.shop.name
        if outcome.faults:
            verdict = f"{name} is NOT complete: {'; '.join(outcome.faults)}"
        else:
            counts = f"{outcome.shop.product_count:,} products, {outcome.shop.item_count:,} items"
            verdict = f"{name} is complete: {counts}, as many as the store has"
        console.print(
            verdict, style="red" if outcome.faults else "green", markup=False, highlight=False, soft_wrap=True
        )
    return not any(outcome.faults for outcome in outcomes)


def show_ways(stack: Stack, outcomes: list[Outcome], place: Place, console: Console) -> None:
    """Commands to be copied; they work while the demo is up."""
    console.print()
    console.print(ways_text(stack, outcomes, place), markup=False, highlight=False, soft_wrap=True)


def ways_text(stack: Stack, outcomes: list[Outcome], place: Place) -> str:
    """How to look further, with the addresses of this run."""
    here = Path(os.path.relpath(Path(sys.executable).parent))
    shop, sync_id = outcomes[0].shop.name, outcomes[0].sync.sync_id
    export = f"export CATALOGSYNC_CATALOG={stack.catalog} CATALOGSYNC_CONNECTOR={stack.connector}"
    cli = here / "catalogsync"
    watch = f'{{"syncId":"{sync_id}"}}'
    grpcurl = f"grpcurl -plaintext -d '{watch}' {stack.catalog} {CATALOG_SERVICE}"
    buf = here / "buf"
    lines = [
        "Look further, in another terminal:",
        f"  {export}",
        f"  {cli} status {shop}",
        f"  {cli} items {shop} --text shirt --limit 10",
        f"  {cli} check {shop}",
        f"  {cli} sync start {shop} --full --watch",
        f"  {cli} sync list --json",
        "With buf (installed) or grpcurl, through reflection:",
        f"  {buf} curl --http2-prior-knowledge --protocol grpc --list-methods http://{stack.catalog}",
        f"  {buf} curl --http2-prior-knowledge --protocol grpc -d '{watch}' "
        f"http://{stack.catalog}/{CATALOG_SERVICE}/GetSync",
        f"  grpcurl -plaintext {stack.catalog} list",
        f"  {grpcurl}/WatchSync",
        f"The store: {stack.devstore}  Logs: {os.path.relpath(place.logs)}",
    ]
    return "\n".join(lines)
