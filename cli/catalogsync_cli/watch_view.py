"""Shows watched syncs until they end: live progress bars on a terminal, plain lines elsewhere, or JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

from catalogsync.catalog.v1.catalog_service_pb2 import Sync
from catalogsync_client import CatalogClient, Disconnect, ShopName, has_ended
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from catalogsync_cli.command import Options
from catalogsync_cli.errors import next_step_of_sync
from catalogsync_cli.exit_codes import ExitCode, exit_code_of_sync
from catalogsync_cli.formatting import (
    counts_text,
    progress_extent,
    progress_text,
    queue_text,
    rate_text,
    sanitize,
    state_name,
    status_line,
    summary_lines,
    utc_now,
    waiting_text,
)
from catalogsync_cli.output import make_console, print_json, print_notice

_LINE_INTERVAL = timedelta(seconds=2)
_REFRESHES_PER_SECOND = 4
_STATE_STYLES = {
    Sync.STATE_PENDING: "yellow",
    Sync.STATE_RUNNING: "cyan",
    Sync.STATE_SUCCEEDED: "green",
    Sync.STATE_FAILED: "red",
    Sync.STATE_CANCELLED: "magenta",
}


async def watch_sync(client: CatalogClient, first: Sync, options: Options) -> ExitCode:
    """Show the sync from its `first` snapshot until it ends, and return its exit code.

    Ctrl-C stops watching; the sync continues.
    """
    try:
        last = await (_watch_as_json(client, first) if options.json else _watch_in_view(client, first))
    except asyncio.CancelledError:
        print_notice(
            f"\nStopped watching; sync {first.sync_id} continues. "
            f"Watch it again: catalogsync{options.catalog_hint} sync watch {first.sync_id}"
        )
        raise
    step = next_step_of_sync(last, hint=options.catalog_hint)
    if step and not options.json:
        print_notice(f"Next: {step}")
    return exit_code_of_sync(last)


async def _watch_as_json(client: CatalogClient, first: Sync) -> Sync:
    def on_connection(disconnect: Disconnect | None) -> None:
        if disconnect is not None:
            print_notice(disconnect_text(disconnect))

    last = first
    async with aclosing(client.watch(first.sync_id, on_connection=on_connection)) as snapshots:
        async for last in snapshots:
            print_json(last)
    return last


async def _watch_in_view(client: CatalogClient, first: Sync) -> Sync:
    last = first
    with ProgressView(make_console()) as view:
        view.update(first)

        def on_connection(disconnect: Disconnect | None) -> None:
            view.set_note(first.sync_id, disconnect_text(disconnect))

        watch = client.watch(first.sync_id, after_revision=first.revision, on_connection=on_connection)
        async with aclosing(watch) as snapshots:
            async for last in snapshots:
                view.update(last)
    return last


def disconnect_text(disconnect: Disconnect | None) -> str:
    """Return a note about a broken stream, or "" after a reconnect."""
    if disconnect is None:
        return ""
    message = sanitize(disconnect.failure.message)
    return f"connection lost ({message}); reconnecting in {disconnect.backoff_seconds:.1f} s"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    """The last snapshot of a sync. Frozen, since the refresh thread reads it while the event loop updates rows."""

    sync: Sync
    note: str = ""
    last_line_at: datetime | None = None


class ProgressView:
    """Shows the progress of one or more syncs, in the order of their first snapshots.

    With an interactive console it draws a progress bar per sync, refreshed by a thread of its own. Otherwise it
    prints a line for the first snapshot of a sync, at most one line every 2 s while it runs, and one when it ends.
    A context manager: at its end drawing stops, and the last state stays on the screen.
    """

    def __init__(self, console: Console, *, now: Callable[[], datetime] = utc_now) -> None:
        self._console = console
        self._now = now
        self._rows: dict[str, _Row] = {}
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._console.is_interactive:
            self._live = Live(
                console=self._console,
                get_renderable=self._render,
                refresh_per_second=_REFRESHES_PER_SECOND,
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

    def update(self, sync: Sync) -> None:
        """Show a snapshot if it is newer than the shown one. It must not be modified afterwards.

        The place of a PENDING sync in the queue changes without a new revision.
        """
        row = self._rows.get(sync.sync_id)
        if row is not None and sync.revision <= row.sync.revision:
            same_revision = sync.revision == row.sync.revision
            if not same_revision or sync.queue_position == row.sync.queue_position:
                return
        row = _Row(sync=sync, last_line_at=row.last_line_at if row else None)
        self._rows[sync.sync_id] = row
        if self._live is None:
            self._print_row(row, ended=has_ended(sync))

    def set_note(self, sync_id: str, text: str) -> None:
        """Show a note about a sync, e.g. a lost connection, until its next snapshot or note."""
        row = self._rows[sync_id]
        self._rows[sync_id] = replace(row, note=text)
        if self._live is None and text:
            self._print_line(f"{ShopName.of(row.sync.shop)} {text}")

    def _print_row(self, row: _Row, *, ended: bool) -> None:
        now = self._now()
        if not ended and row.last_line_at is not None and now - row.last_line_at < _LINE_INTERVAL:
            return
        self._rows[row.sync.sync_id] = replace(row, last_line_at=now)
        shop = ShopName.of(row.sync.shop)
        running = f"{now:%H:%M:%S} {shop} {status_line(row.sync, now)}"
        for line in summary_lines(row.sync) if ended else (running,):
            self._print_line(line)

    def _print_line(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _render(self) -> RenderableType:
        now = self._now()
        # One call, so that the event loop cannot add a row in between.
        rows = tuple(self._rows.values())
        return Group(*(_render_row(row, now) for row in rows))


def _render_row(row: _Row, now: datetime) -> RenderableType:
    sync = row.sync
    if has_ended(sync):
        return Text("\n".join(summary_lines(sync)), style=_STATE_STYLES.get(sync.state, ""))
    lines: list[RenderableType] = [_bar_line(sync), _detail_line(sync, now)]
    if sync.HasField("waiting"):
        lines.append(Text(f"  waiting: {waiting_text(sync.waiting, now)}", style="yellow"))
    if row.note:
        lines.append(Text(f"  {row.note}", style="yellow"))
    return Group(*lines)


def _bar_line(sync: Sync) -> Table:
    fraction = progress_extent(sync).fraction
    bar = ProgressBar(total=1.0, completed=fraction or 0.0, pulse=fraction is None)
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(ratio=1, min_width=8)
    grid.add_column(no_wrap=True, justify="right")
    grid.add_row(
        Text(str(ShopName.of(sync.shop))),
        Text(state_name(sync), style=_STATE_STYLES.get(sync.state, "")),
        bar,
        Text(progress_text(sync)),
    )
    return grid


def _detail_line(sync: Sync, now: datetime) -> Text:
    details = queue_text(sync) or " · ".join(part for part in (counts_text(sync), rate_text(sync, now)) if part)
    return Text(f"  {details}", style="dim")
