"""`make bench-memory`: does the memory of the services grow with the catalog?

Syncs a small and a large shop of each platform, every sync with new processes and an empty database, and compares
the peaks of the resident memory.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.common.measure import SyncMeasurement, measure_sync
from bench.common.report import print_result, print_table
from bench.common.stack import running_stack, temporary_directory
from bench.common.store import KINDS, running_store, shop_spec

MAX_RATIO = 1.3
"""Largest allowed peak of the large sync, in multiples of the small one's."""
SERVICES = ("connector_svc", "catalog_svc")


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """Syncs of the same kind of shop, small and large."""

    small: SyncMeasurement
    large: SyncMeasurement

    def ratio(self, service: str) -> float:
        """Return the ratio of the peaks, large over small."""
        return round(self.large.peak_mb[service][-1] / self.small.peak_mb[service][-1], 3)


async def _measure(directory: Path, kind: str, items: int) -> SyncMeasurement:
    async with (
        running_store(directory / "store", [shop_spec(kind, items)], cache=False) as store,
        running_stack(directory / "stack", store) as stack,
    ):
        measured = await measure_sync(stack, store)
    _print_measurement(f"{kind}, {measured.items:,} items in {measured.seconds:,.0f} s", measured)
    return measured


def _print_measurement(title: str, measured: SyncMeasurement) -> None:
    columns = ("process", "CPU s", "MB at start", "25 %", "50 %", "75 %", "end")
    rows = [(name, f"{measured.cpu[name]:,.1f}", *map(str, measured.peak_mb[name])) for name in SERVICES]
    backend = [str(value) for value in measured.backend_mb]
    rows.append(("postgresql (private memory of a backend)", f"{measured.cpu['postgresql']:,.1f}", *backend))
    rows.append(("store", f"{measured.cpu['store']:,.1f}", *[""] * 5))
    print_table(f"{title} ({measured.rows_per_second:,.0f} rows/s)", columns, rows)


def _print_ratios(pairs: dict[str, Pair]) -> None:
    rows = []
    for kind, pair in pairs.items():
        for service in SERVICES:
            small, large = (one.peak_mb[service][-1] for one in (pair.small, pair.large))
            rows.append((f"{kind} {service}", str(small), str(large), f"{pair.ratio(service):.2f}"))
    print_table(f"Peak RSS in MB; wanted: a ratio of at most {MAX_RATIO}", ("", "small", "large", "ratio"), rows)


async def _measure_pairs(kinds: Sequence[str], small: int, large: int) -> dict[str, Pair]:
    pairs = {}
    for kind in kinds:
        with temporary_directory("memory") as directory:
            pairs[kind] = Pair(
                small=await _measure(directory / "small", kind, small),
                large=await _measure(directory / "large", kind, large),
            )
    return pairs


def main() -> None:
    """Print the peaks and their ratios, and the RESULT line."""
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__)
    parser.add_argument("--shop", action="append", choices=KINDS, help="[default: shopify and woocommerce-10.3]")
    parser.add_argument("--small", type=int, default=50_000, metavar="ITEMS")
    parser.add_argument("--large", type=int, default=1_000_000, metavar="ITEMS")
    args = parser.parse_args()
    pairs = asyncio.run(_measure_pairs(args.shop or KINDS[:2], args.small, args.large))
    _print_ratios(pairs)
    ratios = {kind: {service: pair.ratio(service) for service in SERVICES} for kind, pair in pairs.items()}
    syncs = {kind: {"small": pair.small.to_json(), "large": pair.large.to_json()} for kind, pair in pairs.items()}
    met = all(ratio <= MAX_RATIO for services in ratios.values() for ratio in services.values())
    print_result("memory", {"ratios": ratios, "met": met, "syncs": syncs})


if __name__ == "__main__":
    main()
