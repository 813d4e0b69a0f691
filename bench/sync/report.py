"""Reports of the sync benchmark: ratios over peers, targets, and tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from bench.common.measure import SyncMedians
from bench.common.report import Target, print_table
from bench.sync.comparison import FIRST_LOAD, Comparison, PeerMedians

Comparisons: TypeAlias = Mapping[str, Mapping[int, Comparison]]
"""By kind of shop and size in items."""

_PEER_RATIOS = {
    "woo_bulk_over_dlt": ("woocommerce-10.3", "woocommerce-bulk", "dlt default"),
    "woo_bulk_over_dlt_tuned": ("woocommerce-10.3", "woocommerce-bulk", "dlt tuned"),
    "woo_bulk_over_old": ("woocommerce-10.3", "woocommerce-bulk", "legacy services"),
    "shopify_paging_over_old": ("shopify", "shopify-paging", "legacy services"),
    "shopify_bulk_over_old": ("shopify", "shopify-bulk", "legacy services"),
}
"""Kind of shop, our read strategy and the peer of each ratio."""
_SLOW_STORE_RATIOS = {
    "latency_plain_over_dlt": ("woocommerce-plain", "woocommerce-plain", "dlt tuned", 4.0),
    "latency_dashboard_over_dlt": ("woocommerce-8.2", "woocommerce-dashboard", "dlt tuned", 4.0),
    "latency_bulk_over_dlt": ("woocommerce-10.3", "woocommerce-bulk", "dlt tuned", 10.0),
}
"""The same with the slow store, and the wanted ratio."""
_TARGET_NAMES = {
    "woo_bulk_over_dlt": "WooCommerce with bulk variations, 100k, over dlt with defaults",
    "woo_bulk_over_dlt_tuned": "WooCommerce with bulk variations, 100k, over dlt tuned",
    "woo_bulk_over_old": "WooCommerce with bulk variations, 100k, over the legacy services",
    "shopify_paging_over_old": "Shopify paging, 100k, over the legacy services",
    "shopify_bulk_over_old": "Shopify bulk, 100k, over the legacy services",
    "latency_plain_over_dlt": "2,000 variants at 200 ms, no bulk route at all, over dlt tuned",
    "latency_dashboard_over_dlt": "2,000 variants at 200 ms, no bulk route in wc/v3, over dlt tuned",
    "latency_bulk_over_dlt": "2,000 variants at 200 ms, bulk route, over dlt tuned",
}
_WANTED_PEER_RATIO = 20.0
_MAX_PEAK_MB = 150.0
# The smallest sizes that targets are measured at.
_TARGET_ITEMS = 100_000
_SLOW_STORE_TARGET_ITEMS = 2_000

_PROCESSES = ("connector_svc", "catalog_svc", "postgresql", "store")
_COLUMNS = (
    "",
    "rows/s",
    "connector",
    "catalog",
    "postgresql",
    "store",
    "WAL MB",
    "dead tuples",
    "peak MB",
    "runs",
)


def ratios(comparisons: Comparisons, slow_store: Mapping[str, Comparison]) -> dict[str, float]:
    """Return our rows per second over those of each peer, at the largest size that both have loaded.

    Args:
        comparisons: By kind of shop and size.
        slow_store: Comparisons with the slow store, by kind.
    """
    found = {}
    for name, (kind, strategy, peer) in _PEER_RATIOS.items():
        if both := [one for one in comparisons.get(kind, {}).values() if peer in one.peers]:
            found[name] = _speed_ratio(max(both, key=lambda one: one.items), strategy, peer)
    for name, (kind, strategy, peer, _) in _SLOW_STORE_RATIOS.items():
        if kind in slow_store:
            found[name] = _speed_ratio(slow_store[kind], strategy, peer)
    return found


def targets(comparisons: Comparisons, slow_store: Mapping[str, Comparison]) -> list[Target]:
    """Return the targets whose size was measured; for the arguments see `ratios`."""
    wanted = dict.fromkeys(_PEER_RATIOS, _WANTED_PEER_RATIO)
    wanted |= {name: least for name, (_, _, _, least) in _SLOW_STORE_RATIOS.items()}
    large = {
        kind: {size: one for size, one in sizes.items() if size >= _TARGET_ITEMS}
        for kind, sizes in comparisons.items()
    }
    full = {kind: one for kind, one in slow_store.items() if one.items >= _SLOW_STORE_TARGET_ITEMS}
    found = [
        Target(name=_TARGET_NAMES[name], value=value, unit="x", wanted=wanted[name], at="least")
        for name, value in ratios(large, full).items()
    ]
    peaks = _peaks([*(one for sizes in comparisons.values() for one in sizes.values()), *slow_store.values()])
    return found + [
        Target(name=f"peak RSS of {service}", value=peak, unit="MB", wanted=_MAX_PEAK_MB, at="most")
        for service, peak in peaks.items()
    ]


def print_comparison(title: str, comparison: Comparison) -> None:
    """Print a table with one row for each read strategy and step, and for each peer."""
    rows = [
        _row(f"{strategy}, {step}", one)
        for strategy, steps in comparison.ours.items()
        for step, one in steps.items()
    ]
    rows += [_peer_row(name, one) for name, one in comparison.peers.items()]
    print_table(f"{title}; CPU in seconds per 100,000 items", _COLUMNS, rows)


def _speed_ratio(comparison: Comparison, strategy: str, peer: str) -> float:
    """Return the ratio of rows per second of the first load."""
    ours = comparison.ours[strategy][FIRST_LOAD].rows_per_second
    return round(ours / comparison.peers[peer].rows_per_second, 2)


def _peaks(comparisons: Iterable[Comparison]) -> dict[str, float]:
    """Return the highest peak RSS in MB, by service."""
    peaks: dict[str, float] = {}
    for comparison in comparisons:
        for steps in comparison.ours.values():
            for step in steps.values():
                for service, peak in step.peak_mb.items():
                    peaks[service] = max(peak, peaks.get(service, 0.0))
    return peaks


def _row(name: str, one: SyncMedians) -> tuple[str, ...]:
    seconds = [f"{one.cpu_per_100k[process]:.2f}" for process in _PROCESSES]
    dead = "-" if one.dead_tuples is None else f"{one.dead_tuples:,}"
    peaks = " / ".join(f"{one.peak_mb[service]:.0f}" for service in _PROCESSES[:2])
    return (
        name,
        f"{one.rows_per_second:,}",
        *seconds,
        f"{one.wal_bytes / 1e6:,.1f}",
        dead,
        peaks,
        str(one.repetitions),
    )


def _peer_row(name: str, one: PeerMedians) -> tuple[str, ...]:
    cpu = one.cpu_per_100k
    seconds = (f"{cpu['peer']:.2f}", "", f"{cpu['postgresql']:.2f}", f"{cpu['store']:.2f}")
    child = f" + {one.largest_child_mb:.0f}" if one.largest_child_mb else ""
    return (name, f"{one.rows_per_second:,}", *seconds, "", "", f"{one.peak_mb:.0f}{child}", str(one.repetitions))
