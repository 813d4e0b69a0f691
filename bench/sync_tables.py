"""What `bench.sync` found, for people."""

from __future__ import annotations

from bench import report
from bench.medians import Medians
from bench.whole import Compared, PeerMedians

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
