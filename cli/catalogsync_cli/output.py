"""Prints answers: tables for people, JSON for programs.

Prints the records of a paged list, page by page, up to a limit: memory does not grow with the list."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any, Generic, TypeVar

import click
import google.rpc.error_details_pb2  # noqa: F401
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from catalogsync_cli.exit_codes import Exit
from catalogsync_cli.formatting import age_text, local_now, printable, utc

UNLIMITED = 1_000_000
"""Columns of a console that writes into a pipe or a file: wide enough that nothing is folded."""
FOLDING = frozenset({"TITLE", "MESSAGE", "VALUE", "DOMAINS"})
"""Columns that may take several lines; all others hold ids, numbers and names to be copied."""
FOLDED_WIDTH = 24
"""A folding column is not made narrower than this; a table that would need it becomes a list of records."""
GAP = 2
"""Spaces between two columns."""


def make_console() -> Console:
    """Open the console on standard output.

    It draws live pictures on a terminal only, whatever FORCE_COLOR says. In a pipe or a file lines have no limit,
    whatever COLUMNS says.
    """
    terminal = sys.stdout.isatty()
    live = terminal and os.environ.get("TERM", "") not in ("", "dumb")
    return Console(file=sys.stdout, force_interactive=live, width=None if terminal else UNLIMITED)


def print_json(message: Message) -> None:
    """Print the message as one line of protobuf's JSON.

    Each message of a type has the same keys in the order of the contract. What is absent is null, which every
    protobuf JSON parser reads as absent.
    """
    document = MessageToDict(message, always_print_fields_with_no_presence=True)
    print(json.dumps(_with_all_keys(document, message.DESCRIPTOR), ensure_ascii=False), flush=True)


def _with_all_keys(document: Mapping[str, Any], kind: Any) -> dict[str, Any]:
    def complete(value: Any, nested: Any) -> Any:
        # Timestamps, durations and `Any` have a JSON form of their own.
        if nested is None or nested.full_name.startswith("google.protobuf."):
            return value
        if isinstance(value, list):
            return [_with_all_keys(element, nested) for element in value]
        return value if value is None else _with_all_keys(value, nested)

    return {field.json_name: complete(document.get(field.json_name), field.message_type) for field in kind.fields}


def print_table(
    console: Console,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    short_rows: Iterable[Sequence[str]] = (),
) -> None:
    """Print rows under their columns; a cell is never cut.

    Where the rows do not fit the console's width, `short_rows` (the same with shorter texts) are tried, then
    each row becomes a record of one field a line.
    """
    long, short = _printable(rows), _printable(short_rows)
    fitting = next((these for these in (long, short) if these and _fits(console, columns, these)), None)
    if fitting is not None:
        console.print(_table(columns, fitting))
        return
    for number, row in enumerate(long):
        if number:
            console.print()
        print_facts(console, zip(columns, row, strict=True))


def _printable(rows: Iterable[Sequence[str]]) -> list[list[str]]:
    return [[printable(cell) for cell in row] for row in rows]


def _fits(console: Console, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    needed = GAP * (len(columns) - 1)
    for place, column in enumerate(columns):
        width = max(cell_len(column), *(cell_len(row[place]) for row in rows))
        needed += min(width, FOLDED_WIDTH) if column in FOLDING else width
    return needed <= console.width


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column not in FOLDING)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def print_facts(console: Console, facts: Iterable[tuple[str, str]]) -> None:
    """Print name and value, one pair a line; pairs without a value are left out.

    A value that is too long goes on below itself, broken between words only: an id stays whole.
    """
    told = [(name, printable(value)) for name, value in facts if value]
    margin = max((cell_len(name) for name, _ in told), default=0) + GAP
    for name, value in told:
        lines = _wrapped(value, console.width - margin)
        console.print(Text.assemble((name.ljust(margin), "bold"), f"\n{'':{margin}}".join(lines)), soft_wrap=True)


def _wrapped(value: str, width: int) -> list[str]:
    return wrap(value, max(width, FOLDED_WIDTH), break_long_words=False, break_on_hyphens=False) or [value]


def say(text: str) -> None:
    """Print a remark that is not the answer, on standard error."""
    print(text, file=sys.stderr, flush=True)


def time_text(message: Message, field: str) -> str:
    """Return a time in UTC, to the second; empty when it is absent."""
    if not message.HasField(field):
        return ""
    stamp: Timestamp = getattr(message, field)
    return f"{utc(stamp):%Y-%m-%d %H:%M:%SZ}"


def short_time_text(message: Message, field: str) -> str:
    """Return how long ago a time was, such as "5m ago"; empty when it is absent."""
    return age_text(local_now() - utc(getattr(message, field))) if message.HasField(field) else ""


LIMIT = click.IntRange(min=1)
M = TypeVar("M", bound=Message)


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing(Generic[M]):
    """How records of one kind are fetched and shown."""

    fetch: Callable[[int, str], Awaitable[tuple[Sequence[M], str]]]
    """A page of at most so many records after a page token: the records and the next token, empty at the end."""
    largest_page: int
    columns: Sequence[str]
    row: Callable[[M], Sequence[str]]
    short_row: Callable[[M], Sequence[str]] | None = None
    """The same in fewer characters, for terminals on which `row` does not fit."""

    async def print(self, limit: int, *, as_json: bool) -> Exit:
        """Prints at most `limit` records, and says so when there are more."""
        left, token = limit, ""
        console = make_console()
        while True:
            records, token = await self.fetch(min(left, self.largest_page), token)
            shown = records[:left]
            left -= len(shown)
            if as_json:
                for record in shown:
                    print_json(record)
            elif shown:
                self._print_table(console, shown)
            if not token:
                break
            if not left:
                say(f"There are more than {limit:,}; see them with a larger --limit.")
                break
        if left == limit and not as_json:
            say("There are none.")
        return Exit.OK

    def _print_table(self, console: Console, records: Sequence[M]) -> None:
        short = [self.short_row(record) for record in records] if self.short_row else ()
        print_table(console, self.columns, [self.row(record) for record in records], short_rows=short)
