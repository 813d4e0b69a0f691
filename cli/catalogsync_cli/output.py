"""Prints responses: tables and fields for people, JSON for programs; paged lists, and times in tables."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from textwrap import wrap
from typing import Any, Generic, TypeVar

import click

# Registers the messages that a failed sync's error carries as `Any`, so that they can be printed as JSON.
import google.rpc.error_details_pb2  # noqa: F401
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from catalogsync_cli.exit_codes import ExitCode
from catalogsync_cli.formatting import age_text, sanitize, to_datetime, utc_now

LIMIT = click.IntRange(min=1)
_UNLIMITED_WIDTH = 1_000_000
"""Width in characters of a console that writes to a pipe or a file: nothing is ever folded."""
_FOLDING_COLUMNS = frozenset({"TITLE", "MESSAGE", "VALUE", "DOMAINS"})
"""Columns whose cells may take several lines; all others hold ids, numbers and names to be copied."""
_MIN_FOLDED_WIDTH = 24
"""Minimum width in characters of a folding column; a table that needs less becomes a list of records."""
_COLUMN_GAP = 2
"""Spaces between two columns."""

_STATE_STYLES: Mapping[str, str] = {
    "SUCCEEDED": "green",
    "ANALYZED": "green",
    "HEALTHY": "green",
    "RUNNING": "cyan",
    "PENDING": "cyan",
    "CANCELLED": "yellow",
    "FAILING": "yellow",
    "FAILED": "red",
    "BROKEN": "red",
}
"""The colour of a cell that consists of a state, on terminals with colours."""

M = TypeVar("M", bound=Message)


class OutputFormat(StrEnum):
    """How responses are printed."""

    TABLE = "table"
    """For people; as wide as the terminal."""
    WIDE = "wide"
    """Tables with more columns, as wide as they are."""
    JSON = "json"
    """For programs."""


def make_console(output: OutputFormat = OutputFormat.TABLE) -> Console:
    """Return the console on standard output.

    Live displays are drawn on a terminal only, whatever FORCE_COLOR says. In a pipe or a file, and with `wide`,
    the length of lines is not limited, whatever COLUMNS says.
    """
    terminal = sys.stdout.isatty()
    live = terminal and os.environ.get("TERM", "") not in ("", "dumb")
    limited = terminal and output is not OutputFormat.WIDE
    return Console(file=sys.stdout, force_interactive=live, width=None if limited else _UNLIMITED_WIDTH)


def print_json(message: Message) -> None:
    """Print the message as one line of protobuf's JSON.

    Messages of one type have the same keys in the order of the contract. Absent fields are null, which every
    protobuf JSON parser reads as absent.
    """
    document = MessageToDict(message, always_print_fields_with_no_presence=True)
    print(json.dumps(_with_all_keys(document, message.DESCRIPTOR), ensure_ascii=False), flush=True)


def _with_all_keys(document: Mapping[str, Any], descriptor: Any) -> dict[str, Any]:
    def complete(value: Any, nested: Any) -> Any:
        # Timestamps, durations and `Any` have a JSON form of their own.
        if nested is None or nested.full_name.startswith("google.protobuf."):
            return value
        if isinstance(value, list):
            return [_with_all_keys(element, nested) for element in value]
        return value if value is None else _with_all_keys(value, nested)

    return {
        field.json_name: complete(document.get(field.json_name), field.message_type) for field in descriptor.fields
    }


def print_table(
    console: Console,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    short_rows: Iterable[Sequence[str]] = (),
) -> None:
    """Print rows below their column headers; a cell is never cut.

    Args:
        short_rows: the same rows with shorter texts, printed if the rows do not fit the console's width. If these
            do not fit either, each row is printed as a record with one field per line.
    """
    long, short = _sanitized(rows), _sanitized(short_rows)
    fitting = next((these for these in (long, short) if these and _fits(console, columns, these)), None)
    if fitting is not None:
        console.print(_table(columns, fitting))
        return
    for number, row in enumerate(long):
        if number:
            console.print()
        print_fields(console, zip(columns, row, strict=True))


def _sanitized(rows: Iterable[Sequence[str]]) -> list[list[str]]:
    return [[sanitize(cell) for cell in row] for row in rows]


def _fits(console: Console, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    needed = _COLUMN_GAP * (len(columns) - 1)
    for index, column in enumerate(columns):
        width = max(cell_len(column), *(cell_len(row[index]) for row in rows))
        needed += min(width, _MIN_FOLDED_WIDTH) if column in _FOLDING_COLUMNS else width
    return needed <= console.width


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column not in _FOLDING_COLUMNS)
    for row in rows:
        table.add_row(*(Text(cell, style=_STATE_STYLES.get(cell, "")) for cell in row))
    return table


def print_fields(console: Console, fields: Iterable[tuple[str, str]]) -> None:
    """Print names and values, one pair per line; pairs with an empty value are omitted.

    A long value continues on the lines below it, broken between words only, so that ids stay whole.
    """
    present = [(name, sanitize(value)) for name, value in fields if value]
    margin = max((cell_len(name) for name, _ in present), default=0) + _COLUMN_GAP
    for name, value in present:
        lines = _wrapped(value, console.width - margin)
        console.print(Text.assemble((name.ljust(margin), "bold"), f"\n{'':{margin}}".join(lines)), soft_wrap=True)


def _wrapped(value: str, width: int) -> list[str]:
    lines = wrap(value, max(width, _MIN_FOLDED_WIDTH), break_long_words=False, break_on_hyphens=False)
    return lines or [value]


def print_notice(text: str) -> None:
    """Print text that is not part of the response, such as an error or a hint, to standard error."""
    print(text, file=sys.stderr, flush=True)


def time_text(message: Message, field: str) -> str:
    """Return a time in UTC, to the second, or "" when the field is absent."""
    if not message.HasField(field):
        return ""
    stamp: Timestamp = getattr(message, field)
    return f"{to_datetime(stamp):%Y-%m-%d %H:%M:%SZ}"


def short_time_text(message: Message, field: str) -> str:
    """Return the age of a time, such as "5m ago", or "" when the field is absent."""
    return age_text(utc_now() - to_datetime(getattr(message, field))) if message.HasField(field) else ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing(Generic[M]):
    """A paged list, fetched and printed page by page: memory does not grow with its length."""

    fetch: Callable[[int, str], Awaitable[tuple[Sequence[M], str]]]
    """Fetches a page, given its size limit and a page token; returns records and the next token, "" at the end."""
    max_page_size: int
    columns: Sequence[str]
    row: Callable[[M], Sequence[str]]
    short_row: Callable[[M], Sequence[str]] | None = None
    """The cells of `row` in fewer characters, for terminals that `row` does not fit."""
    more_columns: Sequence[str] = ()
    """The columns that a wide table has after `columns`."""
    more_cells: Callable[[M], Sequence[str]] = lambda record: ()
    """The cells below them."""

    async def print(self, limit: int, *, output: OutputFormat) -> ExitCode:
        """Print at most `limit` records, and a notice when there are more."""
        left, token = limit, ""
        console = make_console(output)
        as_json = output is OutputFormat.JSON
        while True:
            page, token = await self.fetch(min(left, self.max_page_size), token)
            records = page[:left]
            left -= len(records)
            if as_json:
                for record in records:
                    print_json(record)
            elif records:
                self._print_table(console, records, wide=output is OutputFormat.WIDE)
            if not token:
                break
            if not left:
                print_notice(f"There are more than {limit:,}; raise --limit to list them.")
                break
        if left == limit and not as_json:
            print_notice("No results.")
        return ExitCode.OK

    def _print_table(self, console: Console, records: Sequence[M], *, wide: bool) -> None:
        if wide:
            rows = [(*self.row(record), *self.more_cells(record)) for record in records]
            print_table(console, (*self.columns, *self.more_columns), rows)
            return
        short = [self.short_row(record) for record in records] if self.short_row else ()
        print_table(console, self.columns, [self.row(record) for record in records], short_rows=short)
