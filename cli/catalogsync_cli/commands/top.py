"""The command `top`: the active syncs of all shops, refreshed in place."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Final

import click
from catalogsync.catalog.v1.catalog_service_pb2 import ListSyncsRequest, Sync
from catalogsync_client import CatalogClient, CatalogSyncError, Disconnect
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from catalogsync_cli.client import open_catalog
from catalogsync_cli.command import Options, command_options, current_options, run
from catalogsync_cli.exit_codes import ExitCode
from catalogsync_cli.formatting import utc_now
from catalogsync_cli.output import make_console, print_json, print_notice, print_table
from catalogsync_cli.top_view import COLUMNS, ActiveSyncs, cells, header, table_lines
from catalogsync_cli.watch_view import disconnect_text

_DRAW_INTERVAL_SECONDS: Final = 0.5
_POLL_INTERVAL_SECONDS: Final = 2.0
"""Between two reads of the progress of the active syncs: WatchSyncs sends a sync when its state changes."""
_PAGE_SIZE: Final = 500
_ACTIVE: Final = (Sync.STATE_RUNNING, Sync.STATE_PENDING)
_NO_SYNCS: Final = "No sync is active."


@click.command()
@click.option("--merchant", default="", metavar="ID", help="Show only syncs of shops of this merchant.")
@command_options
def top(merchant: str) -> ExitCode:
    """Show the active syncs of all shops.

    Of each: progress, items per second, time left, and what it waits for.
    On a terminal the table is refreshed in place until q or Ctrl-C; otherwise it is printed once.
    """
    return run(_top(merchant, current_options()), current_options())


async def _top(merchant: str, options: Options) -> ExitCode:
    console = make_console(options.output)
    async with open_catalog(options) as client:
        if options.json or not console.is_interactive:
            return await _print_once(client, merchant, options)
        return await _Screen(client, merchant, console).run()


async def _print_once(client: CatalogClient, merchant: str, options: Options) -> ExitCode:
    active, now = ActiveSyncs(), utc_now()
    async with aclosing(client.watch_syncs(merchant_id=merchant)) as messages:
        async for message in messages:
            active.update(message.syncs, now=now)
            active.remove(sync_ids=message.removed_sync_ids, shop_ids=message.deleted_shop_ids)
            if message.caught_up:
                break
    syncs = active.shown(now=utc_now())
    if options.json:
        for sync in syncs:
            print_json(sync)
    elif syncs:
        print_table(make_console(options.output), COLUMNS, [cells(sync, utc_now()) for sync in syncs])
    else:
        print_notice(_NO_SYNCS)
    return ExitCode.OK


class _Screen:
    """Follows the syncs and draws them, until the person at the terminal ends it."""

    def __init__(self, client: CatalogClient, merchant: str, console: Console) -> None:
        self._client = client
        self._merchant = merchant
        self._console = console
        self._active = ActiveSyncs()
        self._note = ""
        self._stop = asyncio.Event()

    async def run(self) -> ExitCode:
        """Return when q or Ctrl-C was pressed, or raise the error of the feed."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._stop.set)
        live = Live(console=self._console, screen=True, auto_refresh=False, transient=True)
        with _keys_read_by(self._on_key), live:
            tasks = [asyncio.create_task(one) for one in (self._follow(), self._poll(), self._draw(live))]
            stopped = asyncio.create_task(self._stop.wait())
            try:
                await asyncio.wait((*tasks, stopped), return_when=asyncio.FIRST_COMPLETED)
                for ended in (task for task in tasks if task.done()):
                    await ended
            finally:
                for task in (*tasks, stopped):
                    task.cancel()
                await asyncio.gather(*tasks, stopped, return_exceptions=True)
                loop.remove_signal_handler(signal.SIGINT)
        return ExitCode.OK

    def _on_key(self, key: str) -> None:
        if key in ("q", "Q"):
            self._stop.set()

    async def _follow(self) -> None:
        messages = self._client.watch_syncs(merchant_id=self._merchant, on_connection=self._on_connection)
        async with aclosing(messages) as messages:
            async for message in messages:
                self._active.update(message.syncs, now=utc_now())
                self._active.remove(sync_ids=message.removed_sync_ids, shop_ids=message.deleted_shop_ids)

    def _on_connection(self, disconnect: Disconnect | None) -> None:
        self._note = disconnect_text(disconnect)

    async def _poll(self) -> None:
        """Read the progress of the active syncs, the first page of them; WatchSyncs says which have ended."""
        request = ListSyncsRequest(states=_ACTIVE, page_size=_PAGE_SIZE)
        while True:
            await asyncio.sleep(_POLL_INTERVAL_SECONDS)
            known = self._active.by_id
            if not known:
                continue
            try:
                page = await self._client.list_syncs(request)
            except CatalogSyncError:
                # The feed reports it, and retries.
                continue
            self._active.update((sync for sync in page.syncs if sync.sync_id in known), now=utc_now())

    async def _draw(self, live: Live) -> None:
        while True:
            live.update(self._picture(), refresh=True)
            await asyncio.sleep(_DRAW_INTERVAL_SECONDS)

    def _picture(self) -> Group:
        now, width, height = utc_now(), self._console.width, self._console.height
        syncs = self._active.shown(now=now)
        lines = [Text(header(syncs, self._note, now)), Text()]
        if not syncs:
            return Group(*lines, Text(_NO_SYNCS), Text(), Text("q: quit", style="dim"))
        # Two lines below the table say how to end, and what did not fit.
        left, hidden = height - len(lines) - 2, 0
        for block in table_lines(syncs, now, width=width):
            if len(block) > left or hidden:
                hidden += 1
            else:
                lines += block
                left -= len(block)
        more = f"{hidden:,} more; " if hidden else ""
        return Group(*lines, Text(), Text(f"{more}q: quit", style="dim"))


@contextmanager
def _keys_read_by(on_key: Callable[[str], None]) -> Iterator[None]:
    """Call `on_key` with each pressed key, without Enter and without its echo, if standard input is a terminal."""
    if not sys.stdin.isatty():
        yield
        return
    descriptor, loop = sys.stdin.fileno(), asyncio.get_running_loop()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    loop.add_reader(descriptor, lambda: on_key(os.read(descriptor, 1).decode(errors="replace")))
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
