"""Shows running syncs to a person: live bars on a terminal, plain lines anywhere else.

Shows a sync to whoever ordered or watches it, until it has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

from catalogsync.catalog.v1.catalog_service_pb2 import Sync
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from catalogsync_cli.client import CatalogClient
from catalogsync_cli.command import Options
from catalogsync_cli.errors import next_step_of_sync
from catalogsync_cli.exit_codes import Exit, exit_of_sync
from catalogsync_cli.formatting import (
    counts_text,
    extent,
    extent_text,
    has_ended,
    local_now,
    pace_text,
    plain_text,
    printable,
    state_name,
    summary_lines,
    waiting_text,
)
from catalogsync_cli.output import make_console, print_json, say
from catalogsync_cli.shop import ShopName
from catalogsync_cli.watch_client import Break

LINE_EVERY = timedelta(seconds=2)
REFRESH_PER_SECOND = 4
STATE_STYLES = {
    Sync.STATE_PENDING: "yellow",
    Sync.STATE_RUNNING: "cyan",
    Sync.STATE_SUCCEEDED: "green",
    Sync.STATE_FAILED: "red",
    Sync.STATE_CANCELLED: "magenta",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    """A sync as it was last seen. Frozen, since the refreshing thread reads while the event loop shows."""

    sync: Sync
    note: str = ""
    line_time: datetime | None = None


class SyncBoard:
    """A board of one or more syncs, fed with their snapshots; the order on it is that of arrival.

    With a `console` that is interactive it draws a bar for each sync, refreshed by a thread of its own; else it
    prints a line when a sync first appears, one at most every 2 s while it moves, and one at its end.
    A context manager: leaving it stops the drawing and leaves the last picture on the screen.
    """

    def __init__(self, console: Console, *, now: Callable[[], datetime] = local_now) -> None:
        self._console = console
        self._now = now
        self._rows: dict[str, _Row] = {}
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._console.is_interactive:
            self._live = Live(
                console=self._console,
                get_renderable=self._picture,
                refresh_per_second=REFRESH_PER_SECOND,
                vertical_overflow="visible",
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def show(self, sync: Sync) -> None:
        """Takes a snapshot, not to be changed later; one that is not newer than what is shown is ignored."""
        row = self._rows.get(sync.sync_id)
        if row is not None and sync.revision <= row.sync.revision:
            return
        row = _Row(sync=sync, line_time=row.line_time if row else None)
        self._rows[sync.sync_id] = row
        if self._live is None:
            self._print_line(row, told_end=has_ended(sync))

    def note(self, sync_id: str, text: str) -> None:
        """Says something of a shown sync, e.g. that the connection broke, until its next snapshot or note."""
        row = self._rows[sync_id]
        self._rows[sync_id] = replace(row, note=text)
        if self._live is None and text:
            self._say(f"{ShopName.of(row.sync.shop)} {text}")

    def _print_line(self, row: _Row, *, told_end: bool) -> None:
        now = self._now()
        if not told_end and row.line_time is not None and now - row.line_time < LINE_EVERY:
            return
        self._rows[row.sync.sync_id] = replace(row, line_time=now)
        shop = ShopName.of(row.sync.shop)
        running = f"{now:%H:%M:%S} {shop} {plain_text(row.sync, now)}"
        for line in summary_lines(row.sync) if told_end else (running,):
            self._say(line)

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _picture(self) -> RenderableType:
        now = self._now()
        # One call, so that the event loop cannot add a row in between.
        rows = tuple(self._rows.values())
        return Group(*(_drawing(row, now) for row in rows))


def _drawing(row: _Row, now: datetime) -> RenderableType:
    sync = row.sync
    if has_ended(sync):
        return Text("\n".join(summary_lines(sync)), style=STATE_STYLES.get(sync.state, ""))
    lines: list[RenderableType] = [_bar_line(sync), _detail_line(sync, now)]
    if sync.HasField("waiting"):
        lines.append(Text(f"  waiting: {waiting_text(sync.waiting, now)}", style="yellow"))
    if row.note:
        lines.append(Text(f"  {row.note}", style="yellow"))
    return Group(*lines)


def _bar_line(sync: Sync) -> Table:
    fraction = extent(sync).fraction
    bar = ProgressBar(total=1.0, completed=fraction or 0.0, pulse=fraction is None)
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(ratio=1, min_width=8)
    grid.add_column(no_wrap=True, justify="right")
    grid.add_row(
        Text(str(ShopName.of(sync.shop))),
        Text(state_name(sync), style=STATE_STYLES.get(sync.state, "")),
        bar,
        Text(extent_text(sync)),
    )
    return grid


def _detail_line(sync: Sync, now: datetime) -> Text:
    told = " · ".join(part for part in (counts_text(sync), pace_text(sync, now)) if part)
    return Text(f"  {told}", style="dim")


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
