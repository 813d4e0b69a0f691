"""`catalogsync top`: what it shows of the active syncs, once in a pipe and in place on a terminal."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import signal
import struct
import sys
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from catalogsync.catalog.v1.catalog_service_pb2 import Progress, RecordCounts, Shop, Sync, Waiting
from catalogsync_cli.top_view import ActiveSyncs, cells, header, table_lines
from google.protobuf.timestamp_pb2 import Timestamp

from tests.fakes.catalog_service import CatalogServer, FailureWithReason
from tests.unit.cli.conftest import CommandLine
from tests.waiting import until, within_timeout

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def stamp(moment: datetime) -> Timestamp:
    found = Timestamp()
    found.FromDatetime(moment)
    return found


def sync_of(number: int, *, state: Sync.State.ValueType = Sync.STATE_RUNNING, **fields: Any) -> Sync:
    shop = Shop(shop_id=str(UUID(int=10_000 + number)), platform="shopify", domain=f"shop-{number}.myshopify.com")
    return Sync(
        sync_id=str(UUID(int=number)), shop=shop, state=state, revision=fields.pop("revision", 1), **fields
    )


def running(number: int, **fields: Any) -> Sync:
    progress = Progress(
        items=RecordCounts(seen_count=4_210),
        estimated_item_count=8_100,
        items_per_second=1_203,
        estimated_end_time=stamp(NOW + timedelta(seconds=75)),
    )
    return sync_of(number, progress=progress, **fields)


THROTTLED = Waiting(reason=Waiting.REASON_THROTTLED, resume_time=stamp(NOW + timedelta(seconds=2)))


def test_a_row_has_the_progress_the_rate_the_time_left_and_what_the_sync_waits_for() -> None:
    assert cells(running(1, waiting=THROTTLED), NOW) == (
        str(UUID(int=1)),
        "shopify:shop-1.myshopify.com",
        "RUNNING",
        "4,210 of 8,100 items (51 %)",
        "1,203",
        "1:15",
        "throttled by the platform, 2.0 s",
    )
    pending = sync_of(2, state=Sync.STATE_PENDING, queue_position=3)
    assert cells(pending, NOW)[-3:] == ("-", "-", "waiting for a worker, 3 before it")


def test_the_header_has_the_number_of_syncs_and_their_items_per_second() -> None:
    syncs = [running(1), running(2), sync_of(3, state=Sync.STATE_PENDING)]
    assert header(syncs, "", NOW) == "12:00:00Z  2 running, 1 waiting for a worker, 2,406 items/s"


@pytest.mark.parametrize("width", [40, 60, 80, 120, 160, 240])
def test_no_line_is_longer_than_the_terminal_and_no_id_is_cut(width: int) -> None:
    syncs = [running(number, waiting=THROTTLED) for number in range(1, 4)]
    lines = [line.plain for block in table_lines(syncs, NOW, width=width) for line in block]
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    for sync in syncs:
        assert sync.sync_id in text
        assert f"shopify:{sync.shop.domain}" in text
    assert " ".join(text.split()).count("throttled by the platform, 2.0 s") == 3


def test_an_older_snapshot_does_not_replace_a_newer_one() -> None:
    active = ActiveSyncs()
    active.update([running(1, revision=5)], now=NOW)
    active.update([sync_of(1, revision=4)], now=NOW)
    assert [sync.revision for sync in active.shown(now=NOW)] == [5]


def test_an_ended_sync_is_shown_for_ten_seconds() -> None:
    active = ActiveSyncs()
    active.update([running(1), running(2)], now=NOW)
    ended = sync_of(1, state=Sync.STATE_FAILED, revision=2)
    active.update([ended, sync_of(7, state=Sync.STATE_SUCCEEDED)], now=NOW)
    assert {sync.sync_id for sync in active.shown(now=NOW)} == {str(UUID(int=1)), str(UUID(int=2))}
    active.update([ended], now=NOW + timedelta(seconds=8))
    later = active.shown(now=NOW + timedelta(seconds=11))
    assert [sync.sync_id for sync in later] == [str(UUID(int=2))]


def test_running_syncs_come_before_those_that_wait_in_the_order_of_the_queue() -> None:
    active = ActiveSyncs()
    waiting = [sync_of(n, state=Sync.STATE_PENDING, queue_position=9 - n) for n in (1, 2, 3)]
    active.update([*waiting, running(4)], now=NOW)
    assert [sync.sync_id[-1] for sync in active.shown(now=NOW)] == ["4", "3", "2", "1"]


def add_running(server: CatalogServer, domain: str) -> Sync:
    sync = server.fake.add_sync(Shop(platform="shopify", domain=domain))
    sync.state = Sync.STATE_RUNNING
    sync.progress.items.seen_count = 1_234
    return sync


async def test_in_a_pipe_the_table_is_printed_once(run: CommandLine, server: CatalogServer) -> None:
    syncs = [add_running(server, f"{name}.myshopify.com") for name in ("a", "b")]
    ended = server.fake.add_sync(Shop(platform="shopify", domain="c.myshopify.com"))
    ended.state = Sync.STATE_SUCCEEDED
    result = await run("top")
    assert result.code == 0, result.err
    assert "\x1b" not in result.out
    lines = result.out.splitlines()
    assert lines[0].split() == ["SYNC", "SHOP", "STATE", "PROGRESS", "ITEMS/S", "LEFT", "WAITS", "FOR"]
    assert sorted(line.split()[0] for line in lines[1:]) == sorted(sync.sync_id for sync in syncs)
    documents = (await run("top", "--json")).documents
    assert sorted(each["syncId"] for each in documents) == sorted(sync.sync_id for sync in syncs)


async def test_without_active_syncs_a_pipe_gets_a_notice(run: CommandLine) -> None:
    result = await run("top")
    assert (result.code, result.out) == (0, "")
    assert "No sync is active" in result.err


@dataclass
class Terminal:
    """A command on a pseudo-terminal."""

    process: asyncio.subprocess.Process
    descriptor: int
    output: list[bytes] = field(default_factory=list)

    @property
    def text(self) -> str:
        return b"".join(self.output).decode(errors="replace")

    def shows(self, pattern: str) -> bool:
        return re.search(pattern, self.text) is not None

    def press(self, key: bytes) -> None:
        os.write(self.descriptor, key)


@asynccontextmanager
async def on_terminal(run: CommandLine, *arguments: str, columns: int = 150) -> AsyncIterator[Terminal]:
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 20, columns, 0, 0))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "catalogsync_cli", *arguments,
        env={**run.environment, "TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": "20"},
        stdin=theirs, stdout=theirs, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    os.close(theirs)
    os.set_blocking(ours, False)
    terminal = Terminal(process, ours)
    loop = asyncio.get_running_loop()

    def read() -> None:
        try:
            terminal.output.append(os.read(ours, 65_536))
        except OSError:
            loop.remove_reader(ours)

    loop.add_reader(ours, read)
    try:
        yield terminal
    finally:
        loop.remove_reader(ours)
        os.close(ours)
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_on_a_terminal_the_table_is_refreshed_in_place_until_q(
    run: CommandLine, server: CatalogServer
) -> None:
    sync = add_running(server, "a.myshopify.com")
    async with on_terminal(run, "top") as terminal:
        await until(lambda: terminal.shows(r"1,234 items"))
        # The progress alone wakes no follower of WatchSyncs: it is polled.
        await server.fake.change(sync.sync_id, progress=Progress(items=RecordCounts(seen_count=5_678)))
        await until(lambda: terminal.shows(r"5,678 items"))
        await server.fake.change(sync.sync_id, state=Sync.STATE_SUCCEEDED)
        await until(lambda: terminal.shows("SUCCEEDED"))
        terminal.press(b"q")
        assert await within_timeout(terminal.process.wait()) == 0
        await until(lambda: terminal.shows(re.escape("\x1b[?1049l")))
        # The alternate screen is entered and left once, and never cleared in between: that would flicker.
        assert terminal.text.count("\x1b[?1049h") == 1
        after = terminal.text.split("\x1b[?1049h")[1]
        assert "\x1b[2J" not in after
        assert sync.sync_id in terminal.text


async def test_ctrl_c_ends_the_table_and_gives_the_terminal_back(run: CommandLine, server: CatalogServer) -> None:
    add_running(server, "a.myshopify.com")
    async with on_terminal(run, "top") as terminal:
        await until(lambda: terminal.shows(r"1,234 items"))
        terminal.process.send_signal(signal.SIGINT)
        assert await within_timeout(terminal.process.wait()) == 0
        await until(lambda: terminal.shows(re.escape("\x1b[?1049l")))


async def test_an_error_of_the_feed_ends_the_table(run: CommandLine, server: CatalogServer) -> None:
    server.fake.errors["WatchSyncs"] = [FailureWithReason("PERMISSION_DENIED", "not for you")]
    async with on_terminal(run, "top") as terminal:
        assert await within_timeout(terminal.process.wait()) == 6
