"""Prints the records of a paged list, page by page, up to a limit: memory does not grow with the list."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import click
from google.protobuf.message import Message
from rich.console import Console

from catalogsync_cli.exits import Exit
from catalogsync_cli.options import Options
from catalogsync_cli.output import make_console, print_json, print_table, say

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

    async def print(self, limit: int, options: Options) -> Exit:
        """Prints at most `limit` records, and says so when there are more."""
        left, token = limit, ""
        console = make_console()
        while True:
            records, token = await self.fetch(min(left, self.largest_page), token)
            shown = records[:left]
            left -= len(shown)
            if options.json:
                for record in shown:
                    print_json(record)
            elif shown:
                self._print_table(console, shown)
            if not token:
                break
            if not left:
                say(f"There are more than {limit:,}; see them with a larger --limit.")
                break
        if left == limit and not options.json:
            say("There are none.")
        return Exit.OK

    def _print_table(self, console: Console, records: Sequence[M]) -> None:
        short = [self.short_row(record) for record in records] if self.short_row else ()
        print_table(console, self.columns, [self.row(record) for record in records], short_rows=short)
