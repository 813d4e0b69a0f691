"""Shows a sync to whoever ordered or watches it, until it has ended."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from catalogsync.catalog.v1.catalog_service_pb2 import Sync

from catalogsync_cli.client import CatalogClient
from catalogsync_cli.exits import Exit, exit_of_sync
from catalogsync_cli.failed import next_step_of_sync
from catalogsync_cli.options import Options
from catalogsync_cli.output import make_console, print_json, say
from catalogsync_cli.progress import SyncBoard
from catalogsync_cli.watching import Break
from catalogsync_cli.wording import printable


async def follow(client: CatalogClient, first: Sync, options: Options) -> Exit:
    """Shows the sync from its `first` snapshot to its end. Ctrl-C ends the showing, never the sync."""
    try:
        last = await (_as_json(client, first) if options.json else _on_board(client, first))
    except asyncio.CancelledError:
        say(
            f"\nStopped watching; sync {first.sync_id} goes on. "
            f"Watch it again: catalogsync{options.catalog_hint} sync watch {first.sync_id}"
        )
        raise
    step = next_step_of_sync(last, hint=options.catalog_hint)
    if step and not options.json:
        say(f"Next: {step}")
    return exit_of_sync(last)


async def _as_json(client: CatalogClient, first: Sync) -> Sync:
    def tell(link: Break | None) -> None:
        if link is not None:
            say(link_text(link))

    last = first
    async with aclosing(client.watch(first.sync_id, on_link=tell)) as snapshots:
        async for last in snapshots:
            print_json(last)
    return last


async def _on_board(client: CatalogClient, first: Sync) -> Sync:
    last = first
    with SyncBoard(make_console()) as board:
        board.show(first)

        def tell(link: Break | None) -> None:
            board.note(first.sync_id, link_text(link))

        async with aclosing(client.watch(first.sync_id, after_revision=first.revision, on_link=tell)) as snapshots:
            async for last in snapshots:
                board.show(last)
    return last


def link_text(link: Break | None) -> str:
    """What to tell of a stream that broke; empty when it is whole again."""
    if link is None:
        return ""
    return f"connection broke ({printable(link.failure.message)}); again in {link.pause:.1f} s"
