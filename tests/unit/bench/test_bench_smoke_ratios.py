"""When a ratio of a small run fails its check."""

from __future__ import annotations

import math

import pytest

from bench.smoke.ratios import RatioCheck, check_ratios


def check(measured: float | None, recorded: float | None = 4.0) -> RatioCheck:
    return RatioCheck(benchmark="write", ratio="over_copy", recorded=recorded, measured=measured)


@pytest.mark.parametrize("measured", [2.0, 2.001, 4.0, 400.0])
def test_half_of_the_recorded_value_and_more_pass(measured: float) -> None:
    assert check(measured).passed


@pytest.mark.parametrize("measured", [1.999, 0.0, -1.0, math.nan, None])
def test_less_than_half_nothing_and_nan_fail(measured: float | None) -> None:
    assert not check(measured).passed


def test_a_new_ratio_passes_and_is_reported() -> None:
    new = check(3.0, recorded=None)
    assert new.passed
    assert "over_copy is new" in new.message


def test_a_failure_names_both_values_and_what_to_do() -> None:
    message = check(1.5).message
    assert "write: over_copy is 1.5, recorded 4" in message
    assert "make bench-write" in message
    assert "--record" in message


def test_a_ratio_that_was_not_measured_is_reported() -> None:
    assert "recorded and was not measured" in check(None).message


def test_each_ratio_that_is_measured_or_recorded_gets_a_check() -> None:
    checks = check_ratios("write", measured={"kept": 1.0, "new": 1.0}, recorded={"kept": 1.0, "lost": 1.0})
    assert {one.ratio: one.passed for one in checks} == {"kept": True, "lost": False, "new": True}
