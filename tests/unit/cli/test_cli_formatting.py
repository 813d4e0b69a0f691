"""Formatting of syncs for people: progress, counts, rates, waiting reasons, summaries and notes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from catalogsync.catalog.v1.catalog_service_pb2 import Progress, RecordCounts, Shop, Sync, Waiting
from catalogsync_cli.formatting import (
    age_text,
    counts_text,
    progress_text,
    queue_text,
    rate_text,
    sanitize,
    state_name,
    status_line,
    summary_lines,
    waiting_text,
)
from catalogsync_client import has_ended
from google.rpc.error_details_pb2 import ErrorInfo

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
SHOP = Shop(platform="shopify", domain="demo.myshopify.com")


def summary_text(sync: Sync) -> str:
    (line,) = summary_lines(sync)
    return line


def waiting(reason: Waiting.Reason.ValueType, *, seconds: float | None = None, **fields: Any) -> Waiting:
    message = Waiting(reason=reason, **fields)
    if seconds is not None:
        message.resume_time.FromDatetime(NOW + timedelta(seconds=seconds))
    return message


@pytest.mark.parametrize(
    ("waits_for", "text"),
    [
        (waiting(Waiting.REASON_THROTTLED, seconds=2.1), "throttled by the platform, 2.1 s"),
        (waiting(Waiting.REASON_THROTTLED, seconds=90), "throttled by the platform, 1:30"),
        (waiting(Waiting.REASON_THROTTLED, seconds=-3), "throttled by the platform"),
        (
            waiting(Waiting.REASON_PLATFORM_JOB, done_count=812, total_count=1456, message="bulk job RUNNING"),
            "bulk job 812 of 1,456",
        ),
        (waiting(Waiting.REASON_PLATFORM_JOB, message="bulk job CREATED"), "bulk job CREATED"),
        (waiting(Waiting.REASON_SOURCE_UNREACHABLE, seconds=4), "the platform does not answer, 4.0 s"),
        (waiting(Waiting.REASON_TOKEN_SERVICE), "the Token Service does not answer"),
        (waiting(Waiting.REASON_CONNECTOR), "connector_svc does not answer"),
    ],
)
def test_a_waiting_sync_shows_what_it_waits_for_and_how_long(waits_for: Waiting, text: str) -> None:
    assert waiting_text(waits_for, NOW) == text


def test_every_waiting_reason_of_the_contract_has_a_text() -> None:
    for name, reason in Waiting.Reason.items():
        if reason != Waiting.REASON_UNSPECIFIED:
            assert name.removeprefix("REASON_") not in waiting_text(Waiting(reason=reason), NOW)


def test_an_unknown_waiting_reason_is_shown_by_its_message_or_number() -> None:
    newer: Any = 77
    assert waiting_text(Waiting(reason=newer, message="moon phase"), NOW) == "moon phase"
    assert waiting_text(Waiting(reason=newer), NOW) == "REASON_77"


def test_an_unknown_state_is_shown_by_its_number_and_counts_as_not_ended() -> None:
    newer: Any = 77
    sync = Sync(state=newer)
    assert state_name(sync) == "STATE_77"
    assert not has_ended(sync)


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        (Progress(), "0 items"),
        (Progress(items=RecordCounts(seen_count=4210), estimated_item_count=8100), "4,210 of 8,100 items (51 %)"),
        (
            Progress(
                products=RecordCounts(seen_count=30), items=RecordCounts(seen_count=90), estimated_product_count=60
            ),
            "30 of 60 products (50 %)",
        ),
        (
            Progress(items=RecordCounts(seen_count=8, rejected_count=2), estimated_item_count=10),
            "10 of 10 items (100 %)",
        ),
        (Progress(items=RecordCounts(seen_count=8101), estimated_item_count=8100), "8,101 items"),
        (Progress(estimated_item_count=0), "0 of 0 items"),
    ],
)
def test_progress_is_shown_relative_to_the_estimate_if_there_is_one(progress: Progress, text: str) -> None:
    assert progress_text(Sync(progress=progress)) == text


def test_rate_and_time_left_are_omitted_when_unknown() -> None:
    sync = Sync(progress=Progress(items_per_second=1203.4))
    assert rate_text(sync, NOW) == "1,203 items/s"
    sync.progress.estimated_end_time.FromDatetime(NOW + timedelta(seconds=3725))
    assert rate_text(sync, NOW) == "1,203 items/s, 1:02:05 left"
    assert rate_text(Sync(), NOW) == ""


def test_the_time_left_is_never_negative() -> None:
    sync = Sync()
    sync.progress.estimated_end_time.FromDatetime(NOW - timedelta(seconds=5))
    assert rate_text(sync, NOW) == "0:00 left"


def test_rare_counts_are_omitted_when_zero() -> None:
    items = RecordCounts(created_count=4000, unchanged_count=10)
    assert counts_text(Sync(progress=Progress(items=items))) == "4,000 created, 0 updated, 10 unchanged"
    items.deleted_count, items.rejected_count = 3, 2
    assert counts_text(Sync(progress=Progress(items=items, issue_count=1))).endswith(
        "3 deleted, 2 rejected, 1 issue"
    )


def test_the_summary_contains_counts_duration_and_average_rate() -> None:
    sync = Sync(shop=SHOP, state=Sync.STATE_SUCCEEDED)
    sync.progress.products.seen_count = 2000
    sync.progress.items.seen_count = sync.progress.items.created_count = 8100
    sync.start_time.FromDatetime(NOW)
    sync.end_time.FromDatetime(NOW + timedelta(seconds=12.5))
    assert summary_text(sync) == (
        "shopify:demo.myshopify.com SUCCEEDED: 8,100 items of 2,000 products in 12.5 s (648 items/s): "
        "8,100 created, 0 updated, 0 unchanged"
    )


def test_the_summary_of_a_failed_sync_contains_message_and_reason_once() -> None:
    sync = Sync(shop=SHOP, state=Sync.STATE_FAILED)
    sync.error.message = "SOURCE_NOT_FOUND: The shop is gone."
    sync.error.details.add().Pack(ErrorInfo(reason="SOURCE_NOT_FOUND", domain="catalogsync"))
    assert summary_text(sync).endswith(". The shop is gone. (SOURCE_NOT_FOUND)")
    assert summary_text(sync).count("SOURCE_NOT_FOUND") == 1


def test_control_characters_are_removed() -> None:
    assert sanitize("a\x1b[2Jb\nc\u202ed\x9be") == "a [2Jb c d e"


def ended(mode: Sync.Mode.ValueType, **progress: Any) -> Sync:
    return Sync(shop=SHOP, state=Sync.STATE_SUCCEEDED, mode=mode, progress=Progress(**progress))


def test_a_succeeded_sync_shows_no_estimate_and_no_percentage() -> None:
    counts = RecordCounts(seen_count=3996, created_count=3996)
    sync = ended(Sync.MODE_FULL, items=counts, estimated_item_count=4054)
    assert progress_text(sync) == "3,996 items"
    sync.state = Sync.STATE_FAILED
    assert progress_text(sync) == "3,996 of 4,054 items (98 %)"


def test_an_incremental_sync_without_changes_shows_nothing_changed() -> None:
    sync = ended(Sync.MODE_INCREMENTAL)
    sync.start_time.FromDatetime(NOW)
    sync.end_time.FromDatetime(NOW + timedelta(seconds=0.9))
    assert progress_text(sync) == "nothing changed"
    assert summary_text(sync) == (
        "shopify:demo.myshopify.com SUCCEEDED: "
        "nothing changed since the last complete sync (0 items of 0 products compared) in 0.9 s"
    )
    sync.changes_since_time.FromDatetime(NOW)
    sync.progress.checked_product_count = 1200
    assert "nothing changed since 2026-11-20 12:00:00Z (1,200 products checked) in 0.9 s" in summary_text(sync)
    sync.progress.products.seen_count = 1
    sync.progress.items.seen_count = sync.progress.items.unchanged_count = 3
    assert "(3 items of 1 product compared, 1,200 products checked)" in summary_text(sync)


def test_an_incremental_sync_shows_how_many_products_it_checked() -> None:
    progress = Progress(items=RecordCounts(seen_count=2, updated_count=2), checked_product_count=800)
    assert counts_text(Sync(progress=progress)) == "0 created, 2 updated, 0 unchanged, 800 products checked"


def test_the_summary_is_followed_by_the_notes() -> None:
    sync = ended(Sync.MODE_FULL)
    sync.notes.extend(["Prices without a date are seen by full syncs only.", "No\nstock."])
    assert summary_lines(sync)[1:] == [
        "  Note: Prices without a date are seen by full syncs only.",
        "  Note: No stock.",
    ]


@pytest.mark.parametrize(
    "sync",
    [
        ended(Sync.MODE_FULL),
        ended(Sync.MODE_INCREMENTAL, items=RecordCounts(deleted_count=1)),
        ended(Sync.MODE_INCREMENTAL, items=RecordCounts(updated_count=1)),
        ended(Sync.MODE_INCREMENTAL, products=RecordCounts(updated_count=1)),
        ended(Sync.MODE_INCREMENTAL, products=RecordCounts(rejected_count=1)),
    ],
)
def test_nothing_changed_is_shown_only_for_an_incremental_sync_without_changes(sync: Sync) -> None:
    assert "nothing changed" not in summary_text(sync) + progress_text(sync)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0s ago"), (12, "12s ago"), (300, "5m ago"), (7300, "2h ago"), (200_000, "2d ago")],
)
def test_an_age_is_shown_in_its_largest_unit(seconds: int, text: str) -> None:
    assert age_text(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize(
    ("position", "text"),
    [
        (0, "waiting for a worker, none before it"),
        (12, "waiting for a worker, 12 before it"),
        (1_000, "waiting for a worker, 1,000 or more before it"),
    ],
)
def test_a_pending_sync_shows_how_many_syncs_come_before_it(position: int, text: str) -> None:
    sync = Sync(state=Sync.STATE_PENDING, queue_position=position)
    assert queue_text(sync) == text
    assert status_line(sync, NOW) == f"PENDING {text}"


def test_a_server_without_positions_and_a_running_sync_show_no_place_in_the_queue() -> None:
    assert queue_text(Sync(state=Sync.STATE_PENDING)) == ""
    assert queue_text(Sync(state=Sync.STATE_RUNNING)) == ""
