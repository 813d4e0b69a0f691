from __future__ import annotations

from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

from catalogsync.catalog.v1.catalog_service_pb2 import Shop, Sync, Waiting
from catalogsync_cli.watch_view import SyncBoard
from rich.console import Console


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def sync_of(domain: str, revision: int, **fields: Any) -> Sync:
    shop = Shop(platform="shopify", domain=domain)
    return Sync(sync_id=domain, shop=shop, revision=revision, **{"state": Sync.STATE_RUNNING, **fields})


def plain_board(clock: Clock) -> tuple[SyncBoard, StringIO]:
    out = StringIO()
    return SyncBoard(Console(file=out, width=60, force_interactive=False), now=clock), out


def live_board(clock: Clock, width: int = 100) -> tuple[SyncBoard, StringIO]:
    out = StringIO()
    return SyncBoard(Console(file=out, width=width, force_terminal=True, color_system=None), now=clock), out


def test_without_a_terminal_a_sync_has_a_line_each_two_seconds_and_one_at_its_end() -> None:
    clock = Clock()
    board, out = plain_board(clock)
    with board:
        for revision in range(1, 42):
            board.show(sync_of("a.example", revision))
            clock.pass_(0.1)
        board.show(sync_of("a.example", 42, state=Sync.STATE_SUCCEEDED))
    lines = out.getvalue().splitlines()
    assert [line.split()[0] for line in lines[:-1]] == ["12:00:00", "12:00:02", "12:00:04"]
    assert lines[-1].startswith("shopify:a.example SUCCEEDED")


def test_without_a_terminal_each_sync_has_its_own_two_seconds() -> None:
    board, out = plain_board(Clock())
    with board:
        board.show(sync_of("a.example", 1))
        board.show(sync_of("b.example", 1))
    assert ["a.example" in line for line in out.getvalue().splitlines()] == [True, False]


def test_a_line_is_never_broken_however_narrow_the_pipe_seems() -> None:
    clock = Clock()
    board, out = plain_board(clock)
    with board:
        board.show(sync_of("a-rather-long-name-of-a-shop.example", 1, waiting=Waiting(message="x" * 80)))
    assert len(out.getvalue().splitlines()) == 1


def test_the_end_is_told_once_even_when_the_terminal_snapshot_comes_again() -> None:
    board, out = plain_board(Clock())
    ended = sync_of("a.example", 9, state=Sync.STATE_CANCELLED)
    with board:
        board.show(ended)
        board.show(ended)
    assert out.getvalue().count("CANCELLED") == 1


def test_an_older_snapshot_does_not_turn_the_board_back() -> None:
    board, out = plain_board(Clock())
    with board:
        board.show(sync_of("a.example", 9, state=Sync.STATE_SUCCEEDED))
        board.show(sync_of("a.example", 8))
    assert "RUNNING" not in out.getvalue()


def test_on_a_terminal_every_sync_has_its_bar_with_counts_rate_and_what_it_waits_for() -> None:
    clock = Clock()
    board, out = live_board(clock)
    first = sync_of("a.example", 1)
    first.progress.items.seen_count, first.progress.estimated_item_count = 500, 1000
    first.progress.items_per_second = 1203
    first.waiting.reason = Waiting.REASON_THROTTLED
    first.waiting.until_time.FromDatetime(clock.now + timedelta(seconds=2.1))
    with board:
        board.show(first)
        board.show(sync_of("b.example", 1, state=Sync.STATE_PENDING))
    picture = out.getvalue()
    assert "shopify:a.example RUNNING" in picture
    assert "500 of 1,000 items (50 %)" in picture
    assert "1,203 items/s" in picture
    assert "waiting: throttled by the platform, 2.1 s" in picture
    assert "shopify:b.example PENDING" in picture
    assert "━" in picture


def test_on_a_terminal_the_last_picture_holds_the_summary_of_each_ended_sync() -> None:
    board, out = live_board(Clock(), width=200)
    with board:
        board.show(sync_of("a.example", 1))
        board.show(sync_of("a.example", 2, state=Sync.STATE_FAILED))
    assert "shopify:a.example FAILED: 0 items of 0 products" in out.getvalue()


def test_a_note_stands_until_the_next_snapshot() -> None:
    board, out = plain_board(Clock())
    with board:
        board.show(sync_of("a.example", 1))
        board.note("a.example", "connection broke")
        board.note("a.example", "")
    assert out.getvalue().splitlines()[1:] == ["shopify:a.example connection broke"]


def test_markup_in_a_message_is_text() -> None:
    board, out = plain_board(Clock())
    newer: Any = 77
    with board:
        board.show(sync_of("a.example", 1, waiting=Waiting(reason=newer, message="[bold]wait[/bold]")))
    assert "[bold]wait[/bold]" in out.getvalue()


def test_the_notes_of_an_ended_sync_follow_its_summary() -> None:
    board, out = plain_board(Clock())
    with board:
        board.show(
            sync_of("a.example", 2, state=Sync.STATE_SUCCEEDED, notes=["Stock is as of the last full sync."])
        )
    assert out.getvalue().splitlines()[1:] == ["  Note: Stock is as of the last full sync."]
