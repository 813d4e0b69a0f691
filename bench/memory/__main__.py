"""`make bench-memory`: does the memory of the services grow with the catalog?

Syncs a small and a large shop of each platform, every sync with fresh processes and an empty database, and
compares the peaks of the resident memory.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.common import report
from bench.common.measure import Measured, measured_sync
from bench.common.stack import running_stack, running_store, workplace
from bench.common.store import KINDS, shop_of

MOST = 1.3
"""The large sync's peak may be this many times the small one's."""
SERVICES = ("connector_svc", "catalog_svc")
ITEMS_PER_PRODUCT = {"shopify": 6.5, "woocommerce": 4.0}
"""Of the devstore's usual shapes."""
SHOPS = {
    "shopify": "shopify:bench.myshopify.com:products={products}",
    "woocommerce": "woocommerce:bench.example:products={products},version=10.3",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """The same platform, small and large."""

    small: Measured
    large: Measured

    def ratio(self, service: str) -> float:
        """Of the peaks."""
        return round(self.large.peak_mb[service][-1] / self.small.peak_mb[service][-1], 3)


async def _one(place: Path, kind: str, items: int) -> Measured:
    async with (
        running_store(place / "store", shop_of(kind, items), remember=False) as store,
        running_stack(place / "stack", store) as stack,
    ):
        measured = await measured_sync(stack, store)
    _show(f"{kind}, {measured.items:,} items in {measured.seconds:,.0f} s", measured)
    return measured


def _show(title: str, measured: Measured) -> None:
    columns = ("process", "CPU s", "MB at start", "25 %", "50 %", "75 %", "end")
    rows = [(name, f"{measured.cpu[name]:,.1f}", *map(str, measured.peak_mb[name])) for name in SERVICES]
    backend = [str(value) for value in measured.backend_mb]
    rows.append(("postgresql (a backend's own)", f"{measured.cpu['postgresql']:,.1f}", *backend))
    rows.append(("store", f"{measured.cpu['store']:,.1f}", *[""] * 5))
    report.show(f"{title} ({measured.rows_per_second:,.0f} rows/s)", columns, rows)


def _show_ratios(pairs: dict[str, Pair]) -> None:
    rows = []
    for kind, pair in pairs.items():
        for service in SERVICES:
            small, large = (one.peak_mb[service][-1] for one in (pair.small, pair.large))
            rows.append((f"{kind} {service}", str(small), str(large), f"{pair.ratio(service):.2f}"))
    report.show(f"Peak RSS in MB; at most {MOST} is wanted", ("", "small", "large", "ratio"), rows)


async def _pairs(kinds: Sequence[str], small: int, large: int) -> dict[str, Pair]:
    pairs = {}
    for kind in kinds:
        with workplace("memory") as place:
            pairs[kind] = Pair(
                small=await _one(place / "small", kind, small),
                large=await _one(place / "large", kind, large),
            )
    return pairs


def main() -> None:
    """Prints both peaks and their ratios."""
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__)
    parser.add_argument("--shop", action="append", choices=KINDS, help="[default: shopify and woocommerce-10.3]")
    parser.add_argument("--small", type=int, default=50_000, metavar="ITEMS")
    parser.add_argument("--large", type=int, default=1_000_000, metavar="ITEMS")
    asked = parser.parse_args()
    pairs = asyncio.run(_pairs(asked.shop or KINDS[:2], asked.small, asked.large))
    _show_ratios(pairs)
    ratios = {kind: {service: pair.ratio(service) for service in SERVICES} for kind, pair in pairs.items()}
    syncs = {
        kind: {"small": report.figures(pair.small), "large": report.figures(pair.large)}
        for kind, pair in pairs.items()
    }
    met = all(ratio <= MOST for services in ratios.values() for ratio in services.values())
    report.result("memory", {"ratios": ratios, "met": met, "syncs": syncs})


if __name__ == "__main__":
    main()
