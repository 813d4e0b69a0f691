"""Rate and remaining time follow from what happened, and are absent when they are unknown."""

from __future__ import annotations

from datetime import timedelta

import pytest

from catalog_svc.domain.sync import Progress, RateMeter, RecordCounts


def test_the_rate_is_items_over_time_since_the_start() -> None:
    meter = RateMeter()
    meter.start(100.0)
    assert meter.add(101.0, 500) == pytest.approx(500)
    assert meter.add(102.0, 1500) == pytest.approx(1000)


def test_the_rate_ignores_items_before_its_window() -> None:
    meter = RateMeter(timedelta(seconds=10))
    meter.start(0.0)
    meter.add(1.0, 100_000)
    for second in range(2, 40):
        rate = meter.add(float(second), 10)
    assert rate == pytest.approx(10)


def test_there_is_no_rate_before_any_time_has_passed() -> None:
    meter = RateMeter()
    meter.start(5.0)
    assert meter.add(5.0, 100) is None


def progress(seen: int, **more: float | int | None) -> Progress:
    return Progress(items=RecordCounts(seen=seen), products=RecordCounts(seen=seen // 2), **more)  # type: ignore[arg-type]


def test_time_left_follows_from_rate_and_estimate() -> None:
    left = progress(400, estimated_item_count=1000, items_per_second=100.0).remaining()
    assert left == timedelta(seconds=6)


def test_products_are_used_where_the_platform_does_not_count_variants() -> None:
    left = progress(400, estimated_product_count=400, items_per_second=100.0).remaining()
    assert left == timedelta(seconds=4)


def test_rejected_records_count_as_done_since_the_platform_counts_them() -> None:
    all_read = Progress(
        items=RecordCounts(seen=900, rejected=100), estimated_item_count=1000, items_per_second=100.0
    )
    assert all_read.remaining() == timedelta(0)


def test_a_wrong_estimate_never_gives_a_negative_time() -> None:
    left = progress(2000, estimated_item_count=1000, items_per_second=100.0).remaining()
    assert left == timedelta(0)


@pytest.mark.parametrize(
    "known",
    [
        {"items_per_second": 100.0},
        {"estimated_item_count": 1000},
        {"estimated_item_count": 1000, "items_per_second": 0.0},
    ],
)
def test_time_left_is_unknown_without_rate_or_estimate(known: dict[str, float]) -> None:
    assert progress(400, **known).remaining() is None


def test_counts_add_up_field_by_field() -> None:
    one = RecordCounts(seen=1, created=2, updated=3, unchanged=4, deleted=5, rejected=6)
    assert one + one == RecordCounts(seen=2, created=4, updated=6, unchanged=8, deleted=10, rejected=12)
