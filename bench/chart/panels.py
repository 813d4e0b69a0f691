"""What the chart shows of each benchmark's result, as panels of bars.

Imports the standard library only, because the chart is drawn in an environment without our packages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bench.common.results import BenchmarkResult, is_positive_number

Kind = Literal["ours", "peer", "limit"]
_SERVICES = ("connector_svc", "catalog_svc")
_WRITERS: tuple[tuple[str, str, Kind], ...] = (
    ("raw COPY", "raw COPY", "limit"),
    ("ours", "catalogsync", "ours"),
    ("multi-row", "multi-row upsert", "peer"),
    ("ORM", "ORM, row by row", "peer"),
)
"""Name in the result, label and kind of each bar."""
_FIRST_LOADS = (
    ("woocommerce-10.3", "woocommerce-bulk", "WooCommerce, bulk variations route"),
    ("shopify", "shopify-bulk", "Shopify, bulk operation"),
    ("shopify", "shopify-paging", "Shopify, pages"),
)
"""Kind of shop, our read strategy and heading of each group."""
_SLOW_STORE_LOADS = (
    ("woocommerce-10.3", "woocommerce-bulk", "with the bulk variations route"),
    ("woocommerce-8.2", "woocommerce-dashboard", "with the dashboard's only"),
    ("woocommerce-plain", "woocommerce-plain", "with none"),
)
_PEERS = ("dlt tuned", "dlt default", "legacy services")
"""In the order of the bars. "legacy services with pauses" is not shown."""


class IncompleteResult(Exception):
    """A result lacks a figure that the chart shows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """One figure. Raises IncompleteResult for one that is not a positive number."""

    label: str
    value: float
    kind: Kind = "ours"

    def __post_init__(self) -> None:
        if not is_positive_number(self.value):
            raise IncompleteResult(f"{self.label} is {self.value}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Bars to compare with each other."""

    heading: str
    """Empty for the only group of a panel."""
    bars: tuple[Bar, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """Groups that share one axis, which begins at zero."""

    title: str
    unit: str
    """Label of the axis."""
    better: Literal["more", "less"]
    groups: tuple[Group, ...]

    @property
    def rows(self) -> int:
        """Height in rows: one for each bar and heading."""
        return sum(bool(group.heading) + len(group.bars) for group in self.groups)


def panels_of(results: Mapping[str, BenchmarkResult]) -> list[Panel]:
    """Return the panels of those benchmarks that have a result. Raise IncompleteResult if a figure is missing."""
    makers = {"sync": _sync_panels, "write": _write_panels, "memory": _memory_panels, "watch": _watch_panels}
    return [panel for name, make in makers.items() if name in results for panel in make(results[name])]


def _sync_panels(result: BenchmarkResult) -> list[Panel]:
    """Show rows per second at the largest size that peers have loaded, and seconds for a slow store."""
    size = _largest_size(result)
    items = figure_of(result, "distant", _SLOW_STORE_LOADS[0][0], "items")
    first_loads = []
    for kind, strategy, heading in _FIRST_LOADS:
        ours = figure_of(result, "syncs", kind, size, "ours", strategy, "first load", "rows_per_second")
        group = _with_peers(result, heading, "syncs", kind, size, ours=ours, figure="rows_per_second")
        first_loads.append(group)
    slow_loads = []
    for kind, strategy, heading in _SLOW_STORE_LOADS:
        ours = figure_of(result, "distant", kind, "seconds", strategy)
        slow_loads.append(_with_peers(result, heading, "distant", kind, ours=ours, figure="seconds"))
    return [
        Panel(
            title=f"First load, {int(size):,} variants",
            unit="rows per second",
            better="more",
            groups=tuple(first_loads),
        ),
        Panel(
            title=f"First load, {items:,} WooCommerce variants, 200 ms per call",
            unit="seconds",
            better="less",
            groups=tuple(slow_loads),
        ),
    ]


def _largest_size(result: BenchmarkResult) -> str:
    kind = _FIRST_LOADS[0][0]
    sizes: Mapping[str, object] = figure_of(result, "syncs", kind)
    loaded = [size for size in sizes if figure_of(result, "syncs", kind, size, "peers")]
    if not loaded:
        raise IncompleteResult(f"the result of sync has no peer that loaded {kind}, and the chart shows peers")
    return max(loaded, key=int)


def _with_peers(result: BenchmarkResult, heading: str, *path: str, ours: float, figure: str) -> Group:
    """Return our bar and those of the peers that the result has at `path`."""
    peers = figure_of(result, *path, "peers")
    bars = (
        Bar(label=name, value=figure_of(result, *path, "peers", name, figure), kind="peer")
        for name in _PEERS
        if name in peers
    )
    return Group(heading=heading, bars=(Bar(label="catalogsync", value=ours), *bars))


def _write_panels(result: BenchmarkResult) -> list[Panel]:
    bars = tuple(
        Bar(label=label, value=figure_of(result, "writers", name, "first load", "rows_per_second"), kind=kind)
        for name, label, kind in _WRITERS
    )
    groups = (Group(heading="", bars=bars),)
    return [Panel(title="The writer alone, first load", unit="rows per second", better="more", groups=groups)]


def _memory_panels(result: BenchmarkResult) -> list[Panel]:
    groups = tuple(
        Group(
            heading=f"{service}, {kind}",
            bars=tuple(_peak_memory(result, kind, size, service) for size in ("small", "large")),
        )
        for service in _SERVICES
        for kind in figure_of(result, "syncs")
    )
    return [Panel(title="Peak memory by size of the catalog", unit="MB", better="less", groups=groups)]


def _peak_memory(result: BenchmarkResult, kind: str, size: str, service: str) -> Bar:
    items = figure_of(result, "syncs", kind, size, "items")
    return Bar(
        label=f"{items:,} variants",
        value=figure_of(result, "syncs", kind, size, "peak_mb", service, -1),
    )


def _watch_panels(result: BenchmarkResult) -> list[Panel]:
    groups = tuple(
        Group(heading=percentile, bars=tuple(_event_ages(result, key)))
        for percentile, key in (("p50", "age_p50_s"), ("p99", "age_p99_s"))
    )
    return [Panel(title="Age of an event when a watcher gets it", unit="seconds", better="less", groups=groups)]


def _event_ages(result: BenchmarkResult, key: str) -> list[Bar]:
    return [
        Bar(
            label=f"{figure_of(result, 'crowds', number, 'watchers'):,} watchers",
            value=figure_of(result, "crowds", number, key),
        )
        for number in range(len(figure_of(result, "crowds")))
    ]


def figure_of(result: BenchmarkResult, *path: str | int) -> Any:
    """Return the value at a path of keys and indexes. Raise IncompleteResult if there is none."""
    found: Any = result.figures
    for step in path:
        try:
            found = found[step]
        except (KeyError, IndexError, TypeError):
            missing = " / ".join(map(str, path))
            raise IncompleteResult(
                f"the result of {result.benchmark} has no {missing}, which the chart shows"
            ) from None
    return found
