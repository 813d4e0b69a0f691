"""Prints answers: tables for people, JSON for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence

# Imported so that JSON can show the details of a failed sync's error, which are `Any`.
import google.rpc.error_details_pb2  # noqa: F401
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.wording import printable, utc

PIPE_WIDTH = 160
"""Of tables that go into a pipe or a file."""
FOLDING = frozenset({"TITLE", "MESSAGE", "VALUE", "DOMAINS"})
"""Columns that may take several lines; all others hold ids, numbers and names to be copied."""


def make_console() -> Console:
    """The console on standard output; it draws live pictures on a terminal only, whatever FORCE_COLOR says."""
    terminal = sys.stdout.isatty()
    live = terminal and os.environ.get("TERM", "") not in ("", "dumb")
    width = None if terminal or "COLUMNS" in os.environ else PIPE_WIDTH
    return Console(file=sys.stdout, force_interactive=live, width=width)


def print_json(message: Message) -> None:
    """The message as one line of protobuf's JSON, fields that are zero included."""
    document = MessageToDict(message, always_print_fields_with_no_presence=True)
    print(json.dumps(document, ensure_ascii=False), flush=True)


def print_table(console: Console, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table; what is too long for the terminal is folded, never cut."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column not in FOLDING)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console.print(table)


def print_facts(console: Console, facts: Iterable[tuple[str, str]]) -> None:
    """Name and value, one pair a line; pairs without a value are left out."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in facts:
        if value:
            grid.add_row(name, Text(printable(value)))
    console.print(grid)


def say(text: str) -> None:
    """A remark that is not the answer: on standard error."""
    print(text, file=sys.stderr, flush=True)


def time_text(message: Message, field: str) -> str:
    """A time in UTC, to the second; empty when it is absent."""
    if not message.HasField(field):
        return ""
    stamp: Timestamp = getattr(message, field)
    return f"{utc(stamp):%Y-%m-%d %H:%M:%SZ}"
