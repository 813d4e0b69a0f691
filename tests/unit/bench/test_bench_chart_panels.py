"""What the chart shows of the results."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from bench.chart.panels import Bar, IncompleteResult, Panel, panels_of
from bench.common.results import BenchmarkResult, recorded_results

SAMPLE_RESULTS = Path(__file__).parents[2] / "data" / "bench"


def values(panel: Panel) -> dict[str, dict[str, float]]:
    return {group.heading: {bar.label: bar.value for bar in group.bars} for group in panel.groups}


def panel_of(benchmark: str) -> Panel:
    (panel,) = panels_of({benchmark: recorded_results(SAMPLE_RESULTS)[benchmark]})
    return panel


def test_the_writer_is_shown_with_its_limit_and_its_peers() -> None:
    assert values(panel_of("write")) == {
        "": {"raw COPY": 50000, "catalogsync": 40000, "multi-row upsert": 2000, "ORM, row by row": 400}
    }


def test_first_loads_are_shown_at_the_largest_size_that_peers_have_loaded() -> None:
    first_loads, _ = panels_of({"sync": recorded_results(SAMPLE_RESULTS)["sync"]})
    assert first_loads.title == "First load, 100,000 variants"
    assert values(first_loads) == {
        "WooCommerce, bulk variations route": {
            "catalogsync": 41000,
            "dlt tuned": 1300,
            "dlt default": 1000,
            "legacy services": 900,
        },
        "Shopify, bulk operation": {"catalogsync": 39000, "legacy services": 900},
        "Shopify, pages": {"catalogsync": 36000, "legacy services": 900},
    }


def test_a_slow_store_is_shown_in_seconds() -> None:
    _, slow_store = panels_of({"sync": recorded_results(SAMPLE_RESULTS)["sync"]})
    assert values(slow_store)["with the bulk variations route"] == {
        "catalogsync": 1.1,
        "dlt tuned": 12.7,
        "dlt default": 50.0,
    }


def test_memory_is_the_peak_at_the_end_of_a_small_and_a_large_sync() -> None:
    shown = values(panel_of("memory"))
    assert len(shown) == 4
    assert shown["connector_svc, shopify"] == {"50,000 variants": 80.0, "1,000,000 variants": 82.5}


def test_event_ages_are_shown_for_each_number_of_watchers() -> None:
    assert values(panel_of("watch"))["p99"] == {"100 watchers": 0.02, "1,000 watchers": 0.1, "5,000 watchers": 0.5}


def test_a_benchmark_without_a_result_has_no_panel() -> None:
    results = recorded_results(SAMPLE_RESULTS)
    titles = [panel.title for panel in panels_of(results)]
    del results["write"]
    assert [panel.title for panel in panels_of(results)] == titles[:2] + titles[3:]
    assert panels_of({}) == []


def test_a_result_that_lacks_a_figure_of_the_chart_is_incomplete() -> None:
    with pytest.raises(IncompleteResult, match="the result of write has no writers / raw COPY"):
        panels_of({"write": BenchmarkResult(benchmark="write", figures={"writers": {"ours": {}}})})


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_a_bar_needs_a_positive_number(value: float) -> None:
    with pytest.raises(IncompleteResult):
        Bar(label="ours", value=value)


def test_the_recorded_results_can_be_drawn() -> None:
    panels_of(recorded_results())
