"""Tables and records at every width: a cell is never cut, and ids are never broken."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import struct
import sys
import termios
from io import StringIO

import pytest
from catalogsync.catalog.v1.catalog_service_pb2 import Progress, RecordCounts, Shop, Sync
from catalogsync_cli.output import print_fields, print_table
from rich.console import Console

from tests.fakes.catalog_service import FakeCatalog
from tests.unit.cli.conftest import CommandLine

LONG_SHOP = Shop(platform="woocommerce", domain="a-store-with-a-rather-long-name.example")
COLUMNS = ("SYNC", "STATE", "MESSAGE")
ID = "01a225a6-9b86-7723-98e2-2fbdc3aa0011"


def printed(width: int, *rows: tuple[str, ...], short: tuple[tuple[str, ...], ...] = ()) -> list[str]:
    out = StringIO()
    print_table(Console(file=out, width=width), COLUMNS, rows, short_rows=short)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_rows_that_fit_are_printed_below_their_column_headers() -> None:
    head, row = printed(80, (ID, "SUCCEEDED", "fine"))
    assert head.split() == list(COLUMNS)
    assert row.split() == [ID, "SUCCEEDED", "fine"]


def test_a_long_message_is_folded_and_ids_stay_whole() -> None:
    lines = printed(80, (ID, "SUCCEEDED", "word " * 30))
    assert lines[1].startswith(f"{ID}  SUCCEEDED  word")
    assert " ".join(lines).split().count("word") == 30
    assert max(map(len, lines)) <= 80


def test_short_rows_are_printed_where_the_long_ones_do_not_fit() -> None:
    lines = printed(40, ("x" * 30, "SUCCEEDED", "ok"), short=(("x" * 9, "SUCCEEDED", "ok"),))
    assert lines[1].split() == ["x" * 9, "SUCCEEDED", "ok"]


def test_rows_that_do_not_fit_become_records_with_one_field_per_line() -> None:
    lines = printed(40, (ID, "SUCCEEDED", "fine"), (ID, "FAILED", ""))
    assert lines == [f"SYNC     {ID}", "STATE    SUCCEEDED", "MESSAGE  fine", "", f"SYNC   {ID}", "STATE  FAILED"]


def test_a_field_value_is_wrapped_between_words_only() -> None:
    out = StringIO()
    print_fields(Console(file=out, width=40), [("Last sync", f"{ID}: {'word ' * 12}"), ("Empty", "")])
    assert f"Last sync  {ID}:\n           word" in out.getvalue()
    assert "Empty" not in out.getvalue()


async def on_terminal(run: CommandLine, width: int, *arguments: str) -> str:
    """Return what a command prints on a terminal with `width` columns."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "catalogsync_cli",
        "--catalog",
        run.catalog,
        *arguments,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env={**{k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}, "TERM": "xterm"},
    )
    os.close(follower)
    text = await asyncio.to_thread(_read_all, leader)
    assert await process.wait() == 0
    return text


def _read_all(leader: int) -> str:
    chunks = []
    try:
        while chunk := os.read(leader, 65_536):
            chunks.append(chunk)
    except OSError:
        # A terminal whose last writer has exited answers EIO.
        pass
    os.close(leader)
    return b"".join(chunks).decode()


@pytest.fixture
def syncs(catalog: FakeCatalog, shop: Shop) -> list[Sync]:
    progress = Progress(items=RecordCounts(seen_count=6140, created_count=6140), estimated_item_count=6140)
    return [
        catalog.add_sync(shop, state=Sync.STATE_SUCCEEDED, progress=progress),
        catalog.add_sync(LONG_SHOP, state=Sync.STATE_CANCELLED, progress=progress),
        catalog.add_sync(LONG_SHOP, state=Sync.STATE_RUNNING, progress=progress),
    ]


@pytest.mark.parametrize("width", [40, 80, 120, 200])
async def test_a_list_on_a_terminal_never_cuts_an_id_or_a_state(
    run: CommandLine, syncs: list[Sync], width: int
) -> None:
    text = await on_terminal(run, width, "sync", "list")
    for whole in (*(sync.sync_id for sync in syncs), "SUCCEEDED", "CANCELLED", "RUNNING", LONG_SHOP.domain):
        assert whole in text


@pytest.mark.parametrize("environment", [{}, {"COLUMNS": "40"}])
async def test_a_list_in_a_pipe_has_one_unwrapped_line_per_sync(
    run: CommandLine, syncs: list[Sync], environment: dict[str, str]
) -> None:
    head, *rows = (await run("sync", "list", **environment)).out.splitlines()
    assert head.split() == ["SYNC", "SHOP", "STATE", "MODE", "PROGRESS", "CREATED", "ENDED"]
    assert [row.split()[0] for row in rows] == [sync.sync_id for sync in reversed(syncs)]
    assert [row.split()[2] for row in rows] == ["RUNNING", "CANCELLED", "SUCCEEDED"]
    assert rows[0].rstrip().endswith("Z")


async def test_json_has_the_same_keys_in_the_same_order_for_every_row(
    catalog: FakeCatalog, run: CommandLine, shop: Shop
) -> None:
    catalog.add_sync(shop)
    counts = RecordCounts(seen_count=3, unchanged_count=2, created_count=1)
    catalog.add_sync(
        shop,
        state=Sync.STATE_RUNNING,
        parent_sync_id=ID,
        progress=Progress(items=counts, issue_count=1, items_per_second=2.5),
    )
    busy, idle = (await run("sync", "list", "--json")).documents
    assert list(busy) == list(idle)
    assert list(busy)[:3] == ["syncId", "shop", "state"]
    assert idle["waiting"] is None
    assert list(busy["progress"]) == [
        "products",
        "items",
        "estimatedProductCount",
        "estimatedItemCount",
        "checkedProductCount",
        "issueCount",
        "itemsPerSecond",
        "estimatedEndTime",
    ]
    assert list(busy["progress"]["items"])[:4] == ["seenCount", "createdCount", "updatedCount", "unchangedCount"]


@pytest.mark.parametrize("command", [(), ("sync",)])
async def test_the_help_never_cuts_the_summary_of_a_command(run: CommandLine, command: tuple[str, ...]) -> None:
    result = await run(*command, "--help", COLUMNS="80")
    assert result.code == 0
    assert "..." not in result.out.partition("Commands:")[2].partition("\n\n")[0]


def test_a_state_has_a_colour_on_a_terminal_with_colours_and_none_elsewhere() -> None:
    for colours in (True, False):
        out = StringIO()
        console = Console(file=out, width=80, color_system="standard" if colours else None, force_terminal=colours)
        print_table(console, COLUMNS, [(ID, "FAILED", "FAILED to read")])
        assert ("\x1b[31mFAILED" in out.getvalue()) is colours
        assert "\x1b[31mFAILED to" not in out.getvalue()


async def test_a_wide_table_has_more_columns_and_is_not_folded_on_a_terminal(
    run: CommandLine, syncs: list[Sync]
) -> None:
    out = await on_terminal(run, 60, "sync", "list", "--output", "wide")
    lines = out.splitlines()
    assert all(column in lines[0] for column in ("STATE", "REASON", "CORRELATION ID"))
    assert len(lines) == len(syncs) + 1


async def test_json_is_chosen_by_an_option_a_shorthand_or_the_environment(
    run: CommandLine, syncs: list[Sync]
) -> None:
    first = await run("sync", "list", "--json")
    assert len(first.documents) == len(syncs)
    assert (await run("sync", "list", "--output", "json")).out == first.out
    assert (await run("--output=json", "sync", "list")).out == first.out
    assert (await run("sync", "list", CATALOGSYNC_OUTPUT="json")).out == first.out
    table = await run("sync", "list", "--output", "table", CATALOGSYNC_OUTPUT="json")
    assert table.out.startswith("SYNC")


@pytest.mark.parametrize("arguments", [("--json",), ("--output", "json"), ("--output=json",)])
async def test_usage_errors_are_json_where_json_is_asked_for(run: CommandLine, arguments: tuple[str, ...]) -> None:
    result = await run("sync", "list", "--limit", "none", *arguments)
    assert (result.code, result.error["reason"]) == (2, "USAGE")
