"""The table of `catalogsync top`: one row per active sync, in as many lines as the width needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from textwrap import wrap
from typing import Final

from catalogsync.catalog.v1.catalog_service_pb2 import Sync
from catalogsync_client import ShopName, has_ended
from rich.cells import cell_len
from rich.text import Text

from catalogsync_cli.formatting import (
    duration_text,
    error_reason,
    progress_text,
    queue_text,
    sanitize,
    state_name,
    to_datetime,
    waiting_text,
)

COLUMNS: Final = ("SYNC", "SHOP", "STATE", "PROGRESS", "ITEMS/S", "LEFT", "WAITS FOR")
_LAST_MIN_WIDTH: Final = 20
"""Of the last column, which is folded."""
_GAP: Final = 2
_ENDED_SHOWN_FOR: Final = timedelta(seconds=10)
_STYLES: Final[Mapping[str, str]] = {
    "RUNNING": "cyan",
    "PENDING": "yellow",
    "SUCCEEDED": "green",
    "FAILED": "red",
    "CANCELLED": "magenta",
}


@dataclass(slots=True)
class ActiveSyncs:
    """The syncs that are active, and those that ended a few seconds ago."""

    by_id: dict[str, Sync] = field(default_factory=dict)
    _ended_at: dict[str, datetime] = field(default_factory=dict)
    """When the end was seen."""

    def update(self, syncs: Iterable[Sync], *, now: datetime) -> None:
        """Store snapshots that are newer than the stored ones; an end that was not seen to run is ignored."""
        for sync in syncs:
            known = self.by_id.get(sync.sync_id)
            if known is None and has_ended(sync):
                continue
            if known is None or sync.revision >= known.revision:
                self.by_id[sync.sync_id] = sync
                if has_ended(sync):
                    self._ended_at.setdefault(sync.sync_id, now)

    def remove(self, *, sync_ids: Iterable[str] = (), shop_ids: Iterable[str] = ()) -> None:
        """Remove syncs that are not stored any more, and those of deleted shops."""
        shops = set(shop_ids)
        removed = {*sync_ids, *(one for one, sync in self.by_id.items() if sync.shop.shop_id in shops)}
        for sync_id in removed:
            self.by_id.pop(sync_id, None)
            self._ended_at.pop(sync_id, None)

    def shown(self, *, now: datetime) -> list[Sync]:
        """Return the syncs to show: running ones, those that wait for a worker, those that have just ended."""
        self.remove(sync_ids=[one for one, at in self._ended_at.items() if now - at > _ENDED_SHOWN_FOR])
        return sorted(self.by_id.values(), key=_order)


def _order(sync: Sync) -> tuple[bool, int, int, str]:
    is_pending = sync.state == Sync.STATE_PENDING
    return is_pending, sync.queue_position if is_pending else 0, sync.create_time.ToNanoseconds(), sync.sync_id


def cells(sync: Sync, now: datetime) -> tuple[str, ...]:
    """Return the cells of a sync below COLUMNS."""
    progress = sync.progress
    left = to_datetime(progress.estimated_end_time) - now if progress.HasField("estimated_end_time") else None
    is_active = not has_ended(sync)
    waits = waiting_text(sync.waiting, now) if sync.HasField("waiting") else queue_text(sync)
    return (
        sync.sync_id,
        sanitize(str(ShopName.of(sync.shop))),
        state_name(sync),
        progress_text(sync),
        f"{progress.items_per_second:,.0f}" if is_active and progress.HasField("items_per_second") else "-",
        duration_text(max(left, timedelta())) if is_active and left is not None else "-",
        waits if is_active else error_reason(sync),
    )


def header(syncs: Sequence[Sync], note: str, now: datetime) -> str:
    """Return the line above the table."""
    running = sum(sync.state == Sync.STATE_RUNNING for sync in syncs)
    pending = sum(sync.state == Sync.STATE_PENDING for sync in syncs)
    rate = sum(sync.progress.items_per_second for sync in syncs if sync.state == Sync.STATE_RUNNING)
    line = f"{now:%H:%M:%SZ}  {running:,} running, {pending:,} waiting for a worker, {rate:,.0f} items/s"
    return f"{line}  {note}" if note else line


def table_lines(syncs: Sequence[Sync], now: datetime, *, width: int) -> list[list[Text]]:
    """Return the lines of the column names and of each sync. No line is longer than the width, no id is cut.

    If a row does not fit, it becomes a record: the id, then the other cells, broken between words.
    """
    rows = [cells(sync, now) for sync in syncs]
    widths = [max(cell_len(row[index]) for row in (COLUMNS, *rows)) for index in range(len(COLUMNS))]
    fixed = sum(widths[:-1]) + _GAP * (len(COLUMNS) - 1)
    if fixed + min(widths[-1], _LAST_MIN_WIDTH) > width:
        return [_record(row, width) for row in rows]
    last = width - fixed
    return [_row(COLUMNS, widths, last, bold=True), *(_row(row, widths, last) for row in rows)]


def _row(row: Sequence[str], widths: Sequence[int], last: int, *, bold: bool = False) -> list[Text]:
    gap = " " * _GAP
    folded = wrap(row[-1], last) or [""]
    line = Text(style="bold" if bold else "")
    for cell, width in zip(row[:-1], widths[:-1], strict=True):
        line.append(cell, style=_STYLES.get(cell, ""))
        line.append(" " * (width - cell_len(cell)) + gap)
    line.append(folded[0])
    margin = " " * (sum(widths[:-1]) + _GAP * (len(widths) - 1))
    line.rstrip()
    return [line, *(Text(f"{margin}{more}") for more in folded[1:])]


def _record(row: Sequence[str], width: int) -> list[Text]:
    texts = [
        *row[1:4],
        *(f"{cell} {unit}" for cell, unit in ((row[4], "items/s"), (row[5], "left")) if cell != "-"),
        row[-1],
    ]
    lines = wrap("  ".join(text for text in texts if text), max(width - _GAP, 1), break_long_words=False)
    return [Text(row[0], style="bold"), *(Text(f"{' ' * _GAP}{line}") for line in lines)]
