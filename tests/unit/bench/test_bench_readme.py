"""What the README shows of the results."""

from __future__ import annotations

from typing import Any

import pytest

from bench.common.results import Outcome, kept_outcomes
from bench.readme import BEGIN, END, README, NoPlace, rewritten

FRAME = f"before\n{BEGIN}\nold\n{END}\nafter\n"


def outcome(benchmark: str, *targets: dict[str, Any]) -> Outcome:
    provenance = {
        "date": "2026-11-20",
        "commit": "abc1234",
        "machine": {"cpus": 2, "model": "Some CPU", "python": "3.11.7"},
        "versions": {"postgresql": "18.4", "grpcio": "1.85.1"},
    }
    return Outcome(benchmark=benchmark, figures={"targets": list(targets), "provenance": provenance})


def target(value: float, *, wanted: float = 20.0, at: str = "least", unit: str = "x") -> dict[str, Any]:
    # "met" is worked out anew, whatever the file says.
    return {"name": "over dlt", "value": value, "unit": unit, "wanted": wanted, "at": at, "met": True}


def table(*outcomes: Outcome) -> str:
    return rewritten(FRAME, {one.benchmark: one for one in outcomes})


def test_the_readme_shows_the_kept_results() -> None:
    text = README.read_text(encoding="utf-8")
    assert rewritten(text, kept_outcomes()) == text, "README.md is stale: run `make bench-chart`"


def test_a_target_is_a_row_with_its_benchmark() -> None:
    assert "| `sync` | over dlt | at least 20 x | 31.2 x | yes |" in table(outcome("sync", target(31.2)))


def test_a_target_that_was_missed_says_so() -> None:
    assert "| at most 150 MB | 151 MB | **no** |" in table(
        outcome("sync", target(151.0, wanted=150, at="most", unit="MB"))
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.734, "0.734 x"), (0.0, "0 x"), (12.34, "12.3 x"), (1234.5, "1,234 x"), (99.96, "100 x")],
)
def test_figures_are_rounded_to_what_can_be_read(value: float, shown: str) -> None:
    assert f"| {shown} |" in table(outcome("sync", target(value)))


def test_where_the_figures_come_from_is_told_once() -> None:
    text = table(outcome("write", target(1.0)), outcome("sync", target(1.0)))
    assert text.count("Some CPU") == 1
    assert "2026-11-20, commit abc1234; 2 CPUs (Some CPU); python 3.11.7, postgresql 18.4, grpcio 1.85.1." in text


def test_the_rest_of_the_text_stays() -> None:
    text = table(outcome("sync", target(1.0)))
    assert text.startswith(f"before\n{BEGIN}\n")
    assert text.endswith(f"\n{END}\nafter\n")
    assert "old" not in text


def test_without_results_it_says_so() -> None:
    assert "Not measured yet" in table()


def test_a_readme_without_a_place_for_them_is_refused() -> None:
    with pytest.raises(NoPlace):
        rewritten("no marks", {})
