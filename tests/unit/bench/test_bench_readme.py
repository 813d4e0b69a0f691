"""What docs/performance.md shows of the results."""

from __future__ import annotations

from typing import Any

import pytest

from bench.common.results import BenchmarkResult, recorded_results
from bench.readme import BEGIN, DOCUMENT, END, MarkersMissing, replace_figures

FRAME = f"before\n{BEGIN}\nold\n{END}\nafter\n"


def result(benchmark: str, *targets: dict[str, Any]) -> BenchmarkResult:
    provenance = {
        "date": "2026-11-20",
        "commit": "abc1234",
        "machine": {"cpus": 2, "model": "Some CPU", "python": "3.11.7"},
        "versions": {"postgresql": "18.4", "grpcio": "1.85.1"},
    }
    return BenchmarkResult(benchmark=benchmark, figures={"targets": list(targets), "provenance": provenance})


def target(value: float, *, wanted: float = 20.0, at: str = "least", unit: str = "x") -> dict[str, Any]:
    # "met" is computed again, whatever the file says.
    return {"name": "over dlt", "value": value, "unit": unit, "wanted": wanted, "at": at, "met": True}


def table(*results: BenchmarkResult) -> str:
    return replace_figures(FRAME, {one.benchmark: one for one in results})


def test_the_document_shows_the_recorded_results() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert replace_figures(text, recorded_results()) == text, (
        "docs/performance.md is stale: run `make bench-chart`"
    )


def test_a_target_is_a_row_with_its_benchmark() -> None:
    assert "| `sync` | over dlt | at least 20 x | 31.2 x | yes |" in table(result("sync", target(31.2)))


def test_a_missed_target_says_no() -> None:
    assert "| at most 150 MB | 151 MB | **no** |" in table(
        result("sync", target(151.0, wanted=150, at="most", unit="MB"))
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.734, "0.734 x"), (0.0, "0 x"), (12.34, "12.3 x"), (1234.5, "1,234 x"), (99.96, "100 x")],
)
def test_figures_are_rounded_to_three_significant_digits(value: float, shown: str) -> None:
    assert f"| {shown} |" in table(result("sync", target(value)))


def test_equal_provenance_is_shown_once() -> None:
    text = table(result("write", target(1.0)), result("sync", target(1.0)))
    assert text.count("Some CPU") == 1
    assert "2026-11-20, commit abc1234; 2 CPUs (Some CPU); python 3.11.7, postgresql 18.4, grpcio 1.85.1." in text


def test_the_rest_of_the_text_is_unchanged() -> None:
    text = table(result("sync", target(1.0)))
    assert text.startswith(f"before\n{BEGIN}\n")
    assert text.endswith(f"\n{END}\nafter\n")
    assert "old" not in text


def test_without_results_it_says_not_measured() -> None:
    assert "Not measured yet" in table()


def test_a_document_without_markers_is_refused() -> None:
    with pytest.raises(MarkersMissing):
        replace_figures("no markers", {})
