"""What the chart shows of each benchmark's result. Knows the standard library only, as the chart."""

from __future__ import annotations

from collections.abc import Mapping

from bench.outcome import Outcome
from bench.panel import Bar, Group, Kind, Panel, figure_of
from bench.whole_panels import whole_syncs

SERVICES = ("connector_svc", "catalog_svc")


def panels_of(outcomes: Mapping[str, Outcome]) -> list[Panel]:
    """Those of each of these benchmarks that has a result. Raises Undrawable for a result that lacks a figure."""
    makers = {"sync": whole_syncs, "write": _writers, "memory": _memory, "watch": _ages}
    return [panel for name, make in makers.items() if name in outcomes for panel in make(outcomes[name])]


def _writers(outcome: Outcome) -> list[Panel]:
    writers: tuple[tuple[str, str, Kind], ...] = (
        ("raw COPY", "raw COPY", "limit"),
        ("ours", "catalogsync", "ours"),
        ("multi-row", "multi-row upsert", "peer"),
        ("ORM", "ORM, row by row", "peer"),
    )
    bars = tuple(
        Bar(label=label, value=figure_of(outcome, "writers", name, "first load", "rows_per_second"), kind=kind)
        for name, label, kind in writers
    )
    groups = (Group(heading="", bars=bars),)
    return [Panel(title="The writer alone, first load", unit="rows per second", better="more", groups=groups)]


def _memory(outcome: Outcome) -> list[Panel]:
    groups = tuple(
        Group(
            heading=f"{service}, {kind}",
            bars=tuple(_peak(outcome, kind, size, service) for size in ("small", "large")),
        )
        for service in SERVICES
        for kind in figure_of(outcome, "syncs")
    )
    return [Panel(title="Peak memory by size of the catalog", unit="MB", better="less", groups=groups)]


def _peak(outcome: Outcome, kind: str, size: str, service: str) -> Bar:
    items = figure_of(outcome, "syncs", kind, size, "items")
    return Bar(
        label=f"{items:,} variants",
        value=figure_of(outcome, "syncs", kind, size, "peak_mb", service, -1),
    )


def _ages(outcome: Outcome) -> list[Panel]:
    groups = tuple(
        Group(heading=percentile, bars=tuple(_ages_of(outcome, key)))
        for percentile, key in (("p50", "age_p50_s"), ("p99", "age_p99_s"))
    )
    return [Panel(title="Age of an event when a watcher gets it", unit="seconds", better="less", groups=groups)]


def _ages_of(outcome: Outcome, key: str) -> list[Bar]:
    crowds = range(len(figure_of(outcome, "crowds")))
    return [
        Bar(
            label=f"{figure_of(outcome, 'crowds', one, 'watchers'):,} watchers",
            value=figure_of(outcome, "crowds", one, key),
        )
        for one in crowds
    ]
