"""A panel of the chart: bars that share one axis, which begins at zero.

Knows the standard library only, as the chart.


What the chart shows of each benchmark's result. Knows the standard library only, as the chart.

What the chart shows of `bench.sync`: whole first loads, near and far.

Knows the standard library only, as the chart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bench.common.results import Outcome, is_figure

Kind = Literal["ours", "peer", "limit"]


class Undrawable(Exception):
    """A result has not what the chart shows of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """One figure."""

    label: str
    value: float
    kind: Kind = "ours"

    def __post_init__(self) -> None:
        if not is_figure(self.value):
            raise Undrawable(f"{self.label} is {self.value}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Bars to be compared with each other."""

    heading: str
    """Empty for the only group of a panel."""
    bars: tuple[Bar, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """Groups on one axis."""

    title: str
    unit: str
    """Of all its bars, as it stands below the axis."""
    better: Literal["more", "less"]
    groups: tuple[Group, ...]

    @property
    def rows(self) -> int:
        """Lines that it takes: a bar or a heading each."""
        return sum(bool(group.heading) + len(group.bars) for group in self.groups)


def figure_of(outcome: Outcome, *path: str | int) -> Any:
    """What stands there in the result."""
    found: Any = outcome.figures
    for step in path:
        try:
            found = found[step]
        except (KeyError, IndexError, TypeError):
            way = " / ".join(map(str, path))
            raise Undrawable(f"the result of {outcome.benchmark} has no {way}, which the chart shows") from None
    return found


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


_NEAR = (
    ("woocommerce-10.3", "woocommerce-bulk", "WooCommerce, bulk variations route"),
    ("shopify", "shopify-bulk", "Shopify, bulk operation"),
    ("shopify", "shopify-paging", "Shopify, pages"),
)
_FAR = (
    ("woocommerce-10.3", "woocommerce-bulk", "with the bulk variations route"),
    ("woocommerce-8.2", "woocommerce-dashboard", "with the dashboard's only"),
    ("woocommerce-plain", "woocommerce-plain", "with none"),
)
_PEERS = ("dlt tuned", "dlt default", "old design")
"""In this order; the old design with its pauses is not among them."""


def whole_syncs(outcome: Outcome) -> list[Panel]:
    """Rows per second at the largest size that peers have loaded, and seconds for a store that answers late."""
    size = _largest(outcome)
    near = tuple(_near(outcome, heading, "syncs", kind, size, way=way) for kind, way, heading in _NEAR)
    far = tuple(_far(outcome, heading, "distant", kind, way=way) for kind, way, heading in _FAR)
    items = figure_of(outcome, "distant", _FAR[0][0], "items")
    return [
        Panel(title=f"First load, {int(size):,} variants", unit="rows per second", better="more", groups=near),
        Panel(
            title=f"First load, {items:,} WooCommerce variants, 200 ms per call",
            unit="seconds",
            better="less",
            groups=far,
        ),
    ]


def _largest(outcome: Outcome) -> str:
    kind = _NEAR[0][0]
    sizes: Mapping[str, object] = figure_of(outcome, "syncs", kind)
    loaded = [size for size in sizes if figure_of(outcome, "syncs", kind, size, "peers")]
    if not loaded:
        raise Undrawable(f"no peer has loaded {kind} in the result of sync, and the chart shows them beside us")
    return max(loaded, key=int)


def _near(outcome: Outcome, heading: str, *place: str, way: str) -> Group:
    ours = figure_of(outcome, *place, "ours", way, "first load", "rows_per_second")
    return _group(outcome, heading, *place, ours=ours, figure="rows_per_second")


def _far(outcome: Outcome, heading: str, *place: str, way: str) -> Group:
    return _group(outcome, heading, *place, ours=figure_of(outcome, *place, "seconds", way), figure="seconds")


def _group(outcome: Outcome, heading: str, *place: str, ours: float, figure: str) -> Group:
    """We and those peers that were there."""
    peers = figure_of(outcome, *place, "peers")
    bars = (
        Bar(label=name, value=figure_of(outcome, *place, "peers", name, figure), kind="peer")
        for name in _PEERS
        if name in peers
    )
    return Group(heading=heading, bars=(Bar(label="catalogsync", value=ours), *bars))
