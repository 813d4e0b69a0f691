"""What `bench.sync` wants: so many times the rows per second of its peers, and little memory.

What `bench.sync` found, for people."""

from __future__ import annotations

from collections.abc import Mapping

from bench.common import report
from bench.common.measure import Medians
from bench.common.report import Target
from bench.sync.comparison import FIRST, Compared, PeerMedians

_OVER = {
    "woo_bulk_over_dlt": ("woocommerce-10.3", "woocommerce-bulk", "dlt default"),
    "woo_bulk_over_dlt_tuned": ("woocommerce-10.3", "woocommerce-bulk", "dlt tuned"),
    "woo_bulk_over_old": ("woocommerce-10.3", "woocommerce-bulk", "old design"),
    "shopify_paging_over_old": ("shopify", "shopify-paging", "old design"),
    "shopify_bulk_over_old": ("shopify", "shopify-bulk", "old design"),
}
_FAR = {
    "latency_plain_over_dlt": ("woocommerce-plain", "woocommerce-plain", "dlt tuned", 4.0),
    "latency_dashboard_over_dlt": ("woocommerce-8.2", "woocommerce-dashboard", "dlt tuned", 4.0),
    "latency_bulk_over_dlt": ("woocommerce-10.3", "woocommerce-bulk", "dlt tuned", 10.0),
}
_NAMES = {
    "woo_bulk_over_dlt": "WooCommerce with bulk variations, 100k, over dlt as it comes",
    "woo_bulk_over_dlt_tuned": "WooCommerce with bulk variations, 100k, over dlt tuned as far as we could",
    "woo_bulk_over_old": "WooCommerce with bulk variations, 100k, over the old design",
    "shopify_paging_over_old": "Shopify paging, 100k, over the old design",
    "shopify_bulk_over_old": "Shopify bulk, 100k, over the old design",
    "latency_plain_over_dlt": "2,000 variants at 200 ms, no bulk route at all, over dlt tuned",
    "latency_dashboard_over_dlt": "2,000 variants at 200 ms, no bulk route in wc/v3, over dlt tuned",
    "latency_bulk_over_dlt": "2,000 variants at 200 ms, bulk route, over dlt tuned",
}
_WANTED = 20.0
_MOST_MB = 150.0
_LARGE = 100_000
_FULL = 2_000
"""Items of the distant store."""


def ratios(wholes: Mapping[str, Mapping[int, Compared]], far: Mapping[str, Compared]) -> dict[str, float]:
    """Our rows per second over those of a peer, at the largest size that both have."""
    found = {}
    for name, (kind, way, peer) in _OVER.items():
        if both := [one for one in wholes.get(kind, {}).values() if peer in one.peers]:
            found[name] = _over(max(both, key=lambda one: one.items), way, peer)
    for name, (kind, way, peer, _) in _FAR.items():
        if kind in far:
            found[name] = _over(far[kind], way, peer)
    return found


def targets(wholes: Mapping[str, Mapping[int, Compared]], far: Mapping[str, Compared]) -> list[Target]:
    """Those whose size was measured."""
    wanted = dict.fromkeys(_OVER, _WANTED) | {name: least for name, (_, _, _, least) in _FAR.items()}
    large = {kind: {size: one for size, one in sizes.items() if size >= _LARGE} for kind, sizes in wholes.items()}
    full = {kind: one for kind, one in far.items() if one.items >= _FULL}
    found = [
        Target(name=_NAMES[name], value=value, unit="x", wanted=wanted[name], at="least")
        for name, value in ratios(large, full).items()
    ]
    peaks = _peaks([*(one for sizes in wholes.values() for one in sizes.values()), *far.values()])
    return found + [
        Target(name=f"peak RSS of {service}", value=peak, unit="MB", wanted=_MOST_MB, at="most")
        for service, peak in peaks.items()
    ]


def _over(one: Compared, way: str, peer: str) -> float:
    """In rows per second of the first load."""
    return round(one.ours[way][FIRST].rows_per_second / one.peers[peer].rows_per_second, 2)


def _peaks(shops: list[Compared]) -> dict[str, float]:
    peaks: dict[str, float] = {}
    for one in shops:
        for steps in one.ours.values():
            for step in steps.values():
                for service, peak in step.peak_mb.items():
                    peaks[service] = max(peak, peaks.get(service, 0.0))
    return peaks


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


def show(title: str, found: Compared) -> None:
    """One row for each way and step, and for each peer."""
    rows = [_row(f"{way}, {step}", one) for way, steps in found.ours.items() for step, one in steps.items()]
    rows += [_peer_row(name, one) for name, one in found.peers.items()]
    report.show(f"{title}; CPU in seconds per 100,000 items", _COLUMNS, rows)


def _row(name: str, one: Medians) -> tuple[str, ...]:
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
