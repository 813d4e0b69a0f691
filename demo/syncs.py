"""Syncs all shops of the demo at once, and prints whether what is stored is what the devstore has."""

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
from catalogsync_cli.commands.shops import status_fields
from catalogsync_cli.formatting import sanitize, state_name
from catalogsync_cli.item_text import ITEM_COLUMNS, item_row
from catalogsync_cli.output import print_fields, print_table
from catalogsync_cli.watch_view import ProgressView, disconnect_text
from catalogsync_client import CatalogClient, CatalogSyncError, Disconnect
from rich.console import Console

from demo.keys import DemoKeys
from demo.stack import CATALOG_SERVICE, DemoShop, Stack
from demo.workspace import Workspace

SHOWN_ITEMS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncResult:
    """The last snapshot of a shop's sync, and the status of the shop after it."""

    shop: DemoShop
    sync: Sync
    status: GetStatusResponse

    @property
    def problems(self) -> list[str]:
        """Return why the catalog is not complete; an empty list if it is."""
        found = []
        if self.sync.state != Sync.STATE_SUCCEEDED:
            message = sanitize(self.sync.error.message)
            found.append(f"its sync {state_name(self.sync)}{f': {message}' if message else ''}")
        counts = (
            ("products", self.status.product_count, self.shop.product_count),
            ("items", self.status.item_count, self.shop.item_count),
        )
        found += [
            f"{stored:,} {noun} are stored, the store has {expected:,}"
            for noun, stored, expected in counts
            if stored != expected
        ]
        return found


async def sync_all(catalog: CatalogClient, shops: Iterable[DemoShop], console: Console) -> list[SyncResult]:
    """Run a full sync of each shop, all at once, with their progress on the console. Raise CatalogSyncError."""
    with ProgressView(console) as view:
        tasks = [asyncio.ensure_future(_sync_one(catalog, shop, view)) for shop in shops]
        try:
            ended = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
    return [SyncResult(shop=shop, sync=sync, status=await catalog.get_status(shop.name)) for shop, sync in ended]


async def _sync_one(client: CatalogClient, shop: DemoShop, view: ProgressView) -> tuple[DemoShop, Sync]:
    try:
        sync = await _start(client, shop)
    except CatalogSyncError as error:
        active = error.failure.metadata.get("sync_id")
        if error.failure.reason != "SYNC_ALREADY_RUNNING" or active is None:
            raise
        # Left by a demo that was interrupted; catalog_svc has resumed it.
        await _watch(client, await client.get_sync(active), view)
        sync = await _start(client, shop)
    return shop, await _watch(client, sync, view)


async def _start(client: CatalogClient, shop: DemoShop) -> Sync:
    return await client.start_sync(shop.name, mode=Sync.MODE_FULL, request_id=str(uuid4()))


async def _watch(client: CatalogClient, sync: Sync, view: ProgressView) -> Sync:
    view.update(sync)

    def show_connection(disconnect: Disconnect | None) -> None:
        view.set_note(sync.sync_id, disconnect_text(disconnect))

    last = sync
    async with aclosing(
        client.watch(sync.sync_id, after_revision=sync.revision, on_connection=show_connection)
    ) as snapshots:
        async for last in snapshots:
            view.update(last)
    return last


async def show_catalogs(client: CatalogClient, results: list[SyncResult], console: Console) -> None:
    """Print the status and the first items of each shop."""
    for result in results:
        console.print(str(result.shop.name), style="bold", markup=False, highlight=False, soft_wrap=True)
        print_fields(console, status_fields(result.status))
        console.print()
        request = ListItemsRequest(shop=result.shop.name.for_catalog(), page_size=SHOWN_ITEMS)
        page = await client.list_items(request)
        print_table(console, ITEM_COLUMNS, [item_row(item) for item in page.items])
        console.print()


def show_completeness(results: list[SyncResult], console: Console) -> bool:
    """Print for each shop whether its catalog is complete; return whether all are."""
    for result in results:
        name = result.shop.name
        if result.problems:
            sentence = f"{name} is NOT complete: {'; '.join(result.problems)}"
        else:
            counts = f"{result.shop.product_count:,} products, {result.shop.item_count:,} items"
            sentence = f"{name} is complete: {counts}, as many as the store has"
        console.print(
            sentence, style="red" if result.problems else "green", markup=False, highlight=False, soft_wrap=True
        )
    return not any(result.problems for result in results)


def show_next_commands(
    stack: Stack, results: list[SyncResult], workspace: Workspace, keys: DemoKeys, console: Console
) -> None:
    """Print commands to copy, which work while the demo runs."""
    text = next_commands_text(stack, results, workspace, keys)
    console.print()
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def next_commands_text(stack: Stack, results: list[SyncResult], workspace: Workspace, keys: DemoKeys) -> str:
    """Return commands that explore the running system, with the addresses of this run."""
    bin_directory = Path(os.path.relpath(Path(sys.executable).parent))
    shop, sync_id = results[0].shop.name, results[0].sync.sync_id
    export = f"export CATALOGSYNC_CATALOG={stack.catalog} CATALOGSYNC_CONNECTOR={stack.connector}"
    cli = bin_directory / "catalogsync"
    token_file = os.path.relpath(workspace.token)
    watch = f'{{"syncId":"{sync_id}"}}'
    header = f'-H "authorization: Bearer $(cat {token_file})"'
    grpcurl = f"grpcurl -plaintext {header}"
    buf = f"{bin_directory / 'buf'} curl --http2-prior-knowledge --protocol grpc {header}"
    lines = [
        "Commands to try in another terminal:",
        f"  {export}",
        f"  export CATALOGSYNC_TOKEN_FILE={token_file} CATALOGSYNC_SERVICE_SECRET={keys.catalog}",
        f"  {cli} status {shop}",
        f"  {cli} items {shop} --text shirt --limit 10",
        f"  {cli} check {shop}",
        f"  {cli} sync start {shop} --full --watch",
        f"  {cli} sync list --json",
        "With buf (installed) or grpcurl, through reflection:",
        f"  {buf} --list-methods http://{stack.catalog}",
        f"  {buf} -d '{watch}' http://{stack.catalog}/{CATALOG_SERVICE}/GetSync",
        f"  {grpcurl} {stack.catalog} list",
        f"  {grpcurl} -d '{watch}' {stack.catalog} {CATALOG_SERVICE}/WatchSync",
        "The example of a BFF in Python:",
        f"  export CATALOG_ADDRESS={stack.catalog} CATALOG_SERVICE_SECRET={keys.bff}",
        f"  {bin_directory / 'python'} examples/python-client/follow.py {shop}",
        f"The operator token, valid for 12 hours and renewed in {token_file} while the demo runs:",
        f"  {keys.mint()}",
        f"The page: {stack.page}",
        f"The store: {stack.devstore}  Logs: {os.path.relpath(workspace.logs)}",
    ]
    return "\n".join(lines)
