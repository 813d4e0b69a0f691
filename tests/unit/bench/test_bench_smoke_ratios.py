"""When a ratio of a small run counts as lost."""

from __future__ import annotations

import math

import pytest

from bench.smoke.ratios import Verdict, judged


def verdict(measured: float | None, recorded: float | None = 4.0) -> Verdict:
    return Verdict(benchmark="write", ratio="over_copy", recorded=recorded, measured=measured)


@pytest.mark.parametrize("measured", [2.0, 2.001, 4.0, 400.0])
def test_half_of_the_recorded_value_and_more_pass(measured: float) -> None:
    assert verdict(measured).passed


@pytest.mark.parametrize("measured", [1.999, 0.0, -1.0, math.nan, None])
def test_less_than_half_nothing_and_nan_fail(measured: float | None) -> None:
    assert not verdict(measured).passed


def test_a_new_ratio_passes_and_is_told() -> None:
    new = verdict(3.0, recorded=None)
    assert new.passed
    assert "over_copy is new" in new.sentence


def test_a_failure_says_both_figures_and_what_to_do() -> None:
    sentence = verdict(1.5).sentence
    assert "write: over_copy is 1.5, recorded 4" in sentence
    assert "make bench-write" in sentence
    assert "--record" in sentence


def test_a_vanished_ratio_is_told_as_such() -> None:
    assert "recorded and was not measured" in verdict(None).sentence


def test_each_ratio_that_is_measured_or_recorded_gets_a_verdict() -> None:
    verdicts = judged("write", measured={"kept": 1.0, "new": 1.0}, recorded={"kept": 1.0, "lost": 1.0})
    assert {one.ratio: one.passed for one in verdicts} == {"kept": True, "lost": False, "new": True}
