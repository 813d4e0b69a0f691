"""What the demo prints after the syncs: how the shops stand, some items, and how to look further."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from catalogsync.catalog.v1.catalog_service_pb2 import ListItemsRequest
from catalogsync_cli.client import CatalogClient
from catalogsync_cli.commands.items import ITEM_COLUMNS, item_row
from catalogsync_cli.commands.shops import status_fields
from catalogsync_cli.output import print_fields, print_table
from rich.console import Console

from demo.place import Place
from demo.stack import CATALOG_SERVICE, Stack
from demo.syncing import Outcome

SHOWN_ITEMS = 5


async def show_catalogs(client: CatalogClient, outcomes: list[Outcome], console: Console) -> None:
    """Each shop's status and its first items."""
    for outcome in outcomes:
        console.print(str(outcome.shop.name), style="bold", markup=False, highlight=False, soft_wrap=True)
        print_fields(console, status_fields(outcome.status))
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
