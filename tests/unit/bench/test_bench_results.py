"""What counts as the result of a benchmark, and how it is kept."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from bench.common.results import Outcome, Untold, kept_outcomes, outcome_in


def test_the_last_line_of_its_kind_is_the_result() -> None:
    result = 'RESULT {"benchmark":"write","ratios":{"a":2,"b":0.5},"targets":[]}'
    outcome = outcome_in(["rows", result, "a library says goodbye on the standard error"])
    assert outcome.benchmark == "write"
    assert outcome.ratios == {"a": 2, "b": 0.5}


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["RESULT {}"],
        ["RESULT []"],
        ['RESULT {"benchmark":'],
        ["a table", "Traceback (most recent call last):"],
    ],
)
def test_anything_else_is_none(lines: list[str]) -> None:
    with pytest.raises(Untold):
        outcome_in(lines)


@pytest.mark.parametrize("value", ["0.9", None, True, {"first": 1.0}])
def test_a_ratio_is_a_number(value: object) -> None:
    with pytest.raises(Untold, match="the ratio a of write"):
        _ = Outcome(benchmark="write", figures={"ratios": {"a": value}}).ratios


def test_what_is_kept_is_read_again_in_the_order_of_all_benchmarks(tmp_path: Path) -> None:
    for name in ("sync", "write"):
        outcome = Outcome(benchmark=name, figures={"benchmark": name, "targets": [{"name": "fast"}]})
        (tmp_path / f"{name}.json").write_text(outcome.kept({"date": "2026-11-20"}))
    read = kept_outcomes(tmp_path)
    assert list(read) == ["write", "sync"]
    assert read["sync"].targets == [{"name": "fast"}]
    assert read["sync"].figures["provenance"] == {"date": "2026-11-20"}


def test_a_figure_that_is_no_number_is_not_kept() -> None:
    with pytest.raises(ValueError, match="nan"):
        Outcome(benchmark="write", figures={"seconds": math.nan}).kept({})


@pytest.mark.parametrize(("name", "benchmark"), [("write", "sync"), ("other", "other")])
def test_a_result_in_the_wrong_place_is_found_out(tmp_path: Path, name: str, benchmark: str) -> None:
    (tmp_path / f"{name}.json").write_text(json.dumps({"benchmark": benchmark}))
    with pytest.raises(Untold, match=f"{name}.json"):
        kept_outcomes(tmp_path)
