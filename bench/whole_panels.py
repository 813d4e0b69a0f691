"""What the chart shows of `bench.sync`: whole first loads, near and far.

Knows the standard library only, as the chart.
"""

from __future__ import annotations

from collections.abc import Mapping

from bench.outcome import Outcome
from bench.panel import Bar, Group, Panel, Undrawable, figure_of

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
