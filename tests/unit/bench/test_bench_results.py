"""What counts as the result of a benchmark, and how it is recorded."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from bench.common.results import BenchmarkResult, InvalidResult, recorded_results, result_from_output


def test_the_last_result_line_is_the_result() -> None:
    line = 'RESULT {"benchmark":"write","ratios":{"a":2,"b":0.5},"targets":[]}'
    result = result_from_output(["rows", line, "a library writes to standard error"])
    assert result.benchmark == "write"
    assert result.ratios == {"a": 2, "b": 0.5}


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
def test_output_without_a_valid_result_line_is_invalid(lines: list[str]) -> None:
    with pytest.raises(InvalidResult):
        result_from_output(lines)


@pytest.mark.parametrize("value", ["0.9", None, True, {"first": 1.0}])
def test_a_ratio_is_a_number(value: object) -> None:
    with pytest.raises(InvalidResult, match="the ratio a of write"):
        _ = BenchmarkResult(benchmark="write", figures={"ratios": {"a": value}}).ratios


def test_recorded_results_are_read_in_the_order_of_the_benchmarks(tmp_path: Path) -> None:
    for name in ("sync", "write"):
        result = BenchmarkResult(benchmark=name, figures={"benchmark": name, "targets": [{"name": "fast"}]})
        (tmp_path / f"{name}.json").write_text(result.to_json({"date": "2026-11-20"}))
    read = recorded_results(tmp_path)
    assert list(read) == ["write", "sync"]
    assert read["sync"].targets == [{"name": "fast"}]
    assert read["sync"].figures["provenance"] == {"date": "2026-11-20"}


def test_a_figure_that_is_not_a_number_is_not_recorded() -> None:
    with pytest.raises(ValueError, match="nan"):
        BenchmarkResult(benchmark="write", figures={"seconds": math.nan}).to_json({})


@pytest.mark.parametrize(("name", "benchmark"), [("write", "sync"), ("other", "other")])
def test_a_result_in_the_file_of_another_benchmark_is_invalid(tmp_path: Path, name: str, benchmark: str) -> None:
    (tmp_path / f"{name}.json").write_text(json.dumps({"benchmark": benchmark}))
    with pytest.raises(InvalidResult, match=f"{name}.json"):
        recorded_results(tmp_path)
