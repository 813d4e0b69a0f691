"""The progress view of watched syncs: plain lines, and a live display on a terminal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

from catalogsync.catalog.v1.catalog_service_pb2 import Shop, Sync, Waiting
from catalogsync_cli.watch_view import ProgressView
from rich.console import Console


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def sync_of(domain: str, revision: int, **fields: Any) -> Sync:
    shop = Shop(platform="shopify", domain=domain)
    return Sync(sync_id=domain, shop=shop, revision=revision, **{"state": Sync.STATE_RUNNING, **fields})


def plain_view(clock: Clock) -> tuple[ProgressView, StringIO]:
    out = StringIO()
    return ProgressView(Console(file=out, width=60, force_interactive=False), now=clock), out


def live_view(clock: Clock, width: int = 100) -> tuple[ProgressView, StringIO]:
    out = StringIO()
    return ProgressView(Console(file=out, width=width, force_terminal=True, color_system=None), now=clock), out


def test_without_a_terminal_a_sync_prints_a_line_every_two_seconds_and_one_when_it_ends() -> None:
    clock = Clock()
    view, out = plain_view(clock)
    with view:
        for revision in range(1, 42):
            view.update(sync_of("a.example", revision))
            clock.advance(0.1)
        view.update(sync_of("a.example", 42, state=Sync.STATE_SUCCEEDED))
    lines = out.getvalue().splitlines()
    assert [line.split()[0] for line in lines[:-1]] == ["12:00:00", "12:00:02", "12:00:04"]
    assert lines[-1].startswith("shopify:a.example SUCCEEDED")


def test_without_a_terminal_the_line_interval_is_per_sync() -> None:
    view, out = plain_view(Clock())
    with view:
        view.update(sync_of("a.example", 1))
        view.update(sync_of("b.example", 1))
    assert ["a.example" in line for line in out.getvalue().splitlines()] == [True, False]


def test_a_line_is_never_wrapped_whatever_the_console_width() -> None:
    clock = Clock()
    view, out = plain_view(clock)
    with view:
        view.update(sync_of("a-rather-long-name-of-a-shop.example", 1, waiting=Waiting(message="x" * 80)))
    assert len(out.getvalue().splitlines()) == 1


def test_the_summary_is_printed_once_when_the_terminal_snapshot_is_repeated() -> None:
    view, out = plain_view(Clock())
    ended = sync_of("a.example", 9, state=Sync.STATE_CANCELLED)
    with view:
        view.update(ended)
        view.update(ended)
    assert out.getvalue().count("CANCELLED") == 1


def test_an_older_snapshot_is_ignored() -> None:
    view, out = plain_view(Clock())
    with view:
        view.update(sync_of("a.example", 9, state=Sync.STATE_SUCCEEDED))
        view.update(sync_of("a.example", 8))
    assert "RUNNING" not in out.getvalue()


def test_on_a_terminal_every_sync_has_a_bar_with_counts_rate_and_waiting_reason() -> None:
    clock = Clock()
    view, out = live_view(clock)
    first = sync_of("a.example", 1)
    first.progress.items.seen_count, first.progress.estimated_item_count = 500, 1000
    first.progress.items_per_second = 1203
    first.waiting.reason = Waiting.REASON_THROTTLED
    first.waiting.resume_time.FromDatetime(clock.now + timedelta(seconds=2.1))
    with view:
        view.update(first)
        view.update(sync_of("b.example", 1, state=Sync.STATE_PENDING))
    display = out.getvalue()
    assert "shopify:a.example RUNNING" in display
    assert "500 of 1,000 items (50 %)" in display
    assert "1,203 items/s" in display
    assert "waiting: throttled by the platform, 2.1 s" in display
    assert "shopify:b.example PENDING" in display
    assert "━" in display


def test_on_a_terminal_the_final_display_contains_the_summary_of_each_ended_sync() -> None:
    view, out = live_view(Clock(), width=200)
    with view:
        view.update(sync_of("a.example", 1))
        view.update(sync_of("a.example", 2, state=Sync.STATE_FAILED))
    assert "shopify:a.example FAILED: 0 items of 0 products" in out.getvalue()


def test_a_note_is_shown_until_it_is_cleared() -> None:
    view, out = plain_view(Clock())
    with view:
        view.update(sync_of("a.example", 1))
        view.set_note("a.example", "connection lost")
        view.set_note("a.example", "")
    assert out.getvalue().splitlines()[1:] == ["shopify:a.example connection lost"]


def test_markup_in_a_message_is_printed_as_text() -> None:
    view, out = plain_view(Clock())
    newer: Any = 77
    with view:
        view.update(sync_of("a.example", 1, waiting=Waiting(reason=newer, message="[bold]wait[/bold]")))
    assert "[bold]wait[/bold]" in out.getvalue()


def test_notes_of_an_ended_sync_follow_its_summary() -> None:
    view, out = plain_view(Clock())
    with view:
        view.update(
            sync_of("a.example", 2, state=Sync.STATE_SUCCEEDED, notes=["Stock is as of the last full sync."])
        )
    assert out.getvalue().splitlines()[1:] == ["  Note: Stock is as of the last full sync."]


def test_a_pending_sync_shows_its_place_in_the_queue_which_changes_without_a_revision() -> None:
    clock = Clock()
    view, out = plain_view(clock)
    with view:
        for position in (12, 12, 3):
            view.update(sync_of("a.example", 1, state=Sync.STATE_PENDING, queue_position=position))
            clock.advance(2)
    assert [line.partition("a.example ")[2] for line in out.getvalue().splitlines()] == [
        "PENDING waiting for a worker, 12 before it",
        "PENDING waiting for a worker, 3 before it",
    ]


def test_on_a_terminal_a_pending_sync_shows_its_place_in_the_queue() -> None:
    view, out = live_view(Clock())
    with view:
        view.update(sync_of("a.example", 1, state=Sync.STATE_PENDING, queue_position=3))
    assert "waiting for a worker, 3 before it" in out.getvalue()
