"""What the chart takes from the results."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from bench.chart.panels import Bar, Panel, Undrawable, panels_of
from bench.common.results import Outcome, kept_outcomes

INVENTED = Path(__file__).parents[2] / "data" / "bench"


def values(panel: Panel) -> dict[str, dict[str, float]]:
    return {group.heading: {bar.label: bar.value for bar in group.bars} for group in panel.groups}


def panel_of(benchmark: str) -> Panel:
    (panel,) = panels_of({benchmark: kept_outcomes(INVENTED)[benchmark]})
    return panel


def test_the_writer_stands_between_its_limit_and_its_peers() -> None:
    assert values(panel_of("write")) == {
        "": {"raw COPY": 50000, "catalogsync": 40000, "multi-row upsert": 2000, "ORM, row by row": 400}
    }


def test_whole_loads_are_shown_at_the_largest_size_that_peers_have_loaded() -> None:
    near, _ = panels_of({"sync": kept_outcomes(INVENTED)["sync"]})
    assert near.title == "First load, 100,000 variants"
    assert values(near) == {
        "WooCommerce, bulk variations route": {
            "catalogsync": 41000,
            "dlt tuned": 1300,
            "dlt default": 1000,
            "old design": 900,
        },
        "Shopify, bulk operation": {"catalogsync": 39000, "old design": 900},
        "Shopify, pages": {"catalogsync": 36000, "old design": 900},
    }


def test_a_distant_store_is_shown_in_seconds() -> None:
    _, far = panels_of({"sync": kept_outcomes(INVENTED)["sync"]})
    assert values(far)["with the bulk variations route"] == {
        "catalogsync": 1.1,
        "dlt tuned": 12.7,
        "dlt default": 50.0,
    }


def test_memory_is_the_peak_at_the_end_of_a_small_and_a_large_sync() -> None:
    shown = values(panel_of("memory"))
    assert len(shown) == 4
    assert shown["connector_svc, shopify"] == {"50,000 variants": 80.0, "1,000,000 variants": 82.5}


def test_ages_are_shown_for_each_crowd() -> None:
    assert values(panel_of("watch"))["p99"] == {"100 watchers": 0.02, "1,000 watchers": 0.1, "5,000 watchers": 0.5}


def test_a_missing_result_leaves_its_panel_out() -> None:
    outcomes = kept_outcomes(INVENTED)
    titles = [panel.title for panel in panels_of(outcomes)]
    del outcomes["write"]
    assert [panel.title for panel in panels_of(outcomes)] == titles[:2] + titles[3:]
    assert panels_of({}) == []


def test_a_result_without_a_figure_that_is_shown_is_refused() -> None:
    with pytest.raises(Undrawable, match="the result of write has no writers / raw COPY"):
        panels_of({"write": Outcome(benchmark="write", figures={"writers": {"ours": {}}})})


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_what_is_no_measurement_is_no_bar(value: float) -> None:
    with pytest.raises(Undrawable):
        Bar(label="ours", value=value)


def test_the_kept_results_can_be_drawn() -> None:
    panels_of(kept_outcomes())
