"""`make bench-latency`: how soon does the catalog answer and act?

WooCommerce shops of 50 products are synced for the first time, one after the other, each watched from the answer
of StartSync on; in between, syncs of a shop that answers after 200 ms are cancelled as soon as they run. Once with
nothing else to do, once beside two WooCommerce shops of 100,000 items that are synced again and again, the first
time all new. Each repetition does both, in fresh services on an empty database. Percentiles are those of one
repetition, and the figures told are medians of the repetitions.

A health check every 10 ms tells how long the catalog's event loop was busy: it needs nothing else, no database.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Final

from sqlalchemy import text

from bench.common import report
from bench.common.cluster import Cluster, running_cluster
from bench.common.load import beside_large, percentile
from bench.common.measure import BenchFailed
from bench.common.report import Target, show_targets
from bench.common.stack import workplace
from bench.common.store import ServedShop, numbered_shop, running_stores
from bench.watchers.order import Cancelled, Ordered, cancelled, ordered
from bench.watchers.paced import paced_shops
from bench.watchers.pulse import pulse
from catalog_svc.storage.engine import open_engine

KIND = "woocommerce-10.3"
SMALL_ITEMS = 200
PACED = "woocommerce:slow.example:products=5000,version=10.3"
LATENCY_MS = 200
CONDITIONS = ("idle", "under load")
MOST_MS: Final = {"idle": 20, "under load": 100}

_STORED_AT = text("SELECT sync_id, progressed_at FROM sync WHERE sync_id = ANY(:sync_ids) AND items_seen > 0")

Figures = dict[str, dict[str, float]]
"""Milliseconds: what -> p50, p99, max, and count."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """How much of everything."""

    shops: int
    """Small ones for each condition."""
    large_items: int
    large_shops: int
    rounds: int


FULL = Size(shops=100, large_items=100_000, large_shops=2, rounds=3)
SMOKE = Size(shops=15, large_items=20_000, large_shops=1, rounds=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shops:
    """Who is synced."""

    small: Sequence[ServedShop]
    large: Sequence[ServedShop]
    slow: ServedShop
    ca_file: str


async def _condition(cluster: Cluster, small: Sequence[ServedShop], slow: ServedShop) -> Figures:
    replica = cluster.replicas[0]
    orders, cancels = [], []
    async with pulse(replica.address) as taken:
        for shop in small:
            orders.append(await ordered(replica.client, shop))
            cancels.append(await cancelled(replica.client, slow))
    return _figures(orders, cancels, await _stored(cluster, orders), taken)


async def _stored(cluster: Cluster, orders: Sequence[Ordered]) -> list[float]:
    """Seconds from each order to its items, which are one batch: just before it was committed."""
    engine = open_engine(cluster.database_url, pool_size=1)
    try:
        async with engine.connect() as connection:
            found = await connection.execute(_STORED_AT, {"sync_ids": [one.sync_id for one in orders]})
            stored = {str(row.sync_id): row.progressed_at.timestamp() for row in found}
    finally:
        await engine.dispose()
    if len(stored) != len(orders):
        raise BenchFailed(f"{len(orders) - len(stored)} syncs stored nothing")
    return [stored[one.sync_id] - one.called for one in orders]


def _figures(
    orders: Sequence[Ordered], cancels: Sequence[Cancelled], stored: Sequence[float], taken: Sequence[float]
) -> Figures:
    starts = [one.answered for one in orders] + [one.start_answered for one in cancels]
    return {
        "StartSync answered": _spread(starts),
        "first progress event at a watcher": _spread([one.first_event for one in orders]),
        "first items stored": _spread(stored),
        "sync of 50 products ended": _spread([one.ended for one in orders]),
        "CancelSync answered": _spread([one.answered for one in cancels]),
        "cancelled, seen by a watcher": _spread([one.seen for one in cancels]),
        "event loop busy (health check)": _spread(taken),
    }


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    return {
        "p50_ms": round(percentile(seconds, 50) * 1000, 1),
        "p99_ms": round(percentile(seconds, 99) * 1000, 1),
        "max_ms": round(max(seconds) * 1000, 1),
        "count": len(seconds),
    }


async def _repetition(place: Path, shops: Shops) -> dict[str, Figures]:
    everyone = (*shops.small, *shops.large, shops.slow)
    half = len(shops.small) // 2
    async with running_cluster(place, everyone, ca_file=shops.ca_file) as cluster, AsyncExitStack() as stack:
        idle = await cluster.family.supervise(_condition(cluster, shops.small[:half], shops.slow))
        for shop in shops.large:
            await stack.enter_async_context(beside_large(cluster.replicas[0].client, shop))
        loaded = await cluster.family.supervise(_condition(cluster, shops.small[half:], shops.slow))
    return dict(zip(CONDITIONS, (idle, loaded), strict=True))


async def _teach(place: Path, shops: Shops) -> None:
    """The stores work their answers out, which is slower than reading them."""
    everyone = (*shops.small, *shops.large)
    async with running_cluster(place, everyone, ca_file=shops.ca_file) as cluster:
        for shop in everyone:
            await ordered(cluster.replicas[0].client, shop)


async def _all(size: Size) -> list[dict[str, Figures]]:
    with workplace("latency") as place:
        tls = place / "tls"
        small = [numbered_shop(KIND, number, SMALL_ITEMS) for number in range(2 * size.shops)]
        large = [numbered_shop(KIND, 9_000 + number, size.large_items) for number in range(size.large_shops)]
        async with (
            running_stores(place / "small", small, tls=tls) as smalls,
            running_stores(place / "large", large, tls=tls) as larges,
            paced_shops(place / "slow", [PACED], tls=tls, latency_ms=LATENCY_MS) as (slow,),
        ):
            shops = Shops(small=smalls.shops, large=larges.shops, slow=slow, ca_file=smalls.ca_file)
            await _teach(place / "teaching", shops)
            return [await _repetition(place / f"round-{number}", shops) for number in range(size.rounds)]


def _middle(rounds: Sequence[dict[str, Figures]], condition: str) -> Figures:
    first = rounds[0][condition]
    return {
        what: {name: round(median(one[condition][what][name] for one in rounds), 1) for name in first[what]}
        for what in first
    }


def _show(figures: dict[str, Figures]) -> None:
    rows = []
    for what in figures[CONDITIONS[0]]:
        both = (figures[condition][what] for condition in CONDITIONS)
        rows.append((what, *(f"{one[name]:,.1f}" for one in both for name in ("p50_ms", "p99_ms", "max_ms"))))
    columns = ["", *(f"{condition}, {name}" for condition in CONDITIONS for name in ("p50", "p99", "max"))]
    report.show("Milliseconds", columns, rows)


def main() -> None:
    """Prints percentiles of each step, at idle and under load."""
    parser = argparse.ArgumentParser(prog="python -m bench.latency", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="15 small shops for each condition, once")
    parser.add_argument("--rounds", type=int, help="[default: 3]")
    asked = parser.parse_args()
    size = SMOKE if asked.smoke else FULL
    size = replace(size, rounds=asked.rounds or size.rounds)
    rounds = asyncio.run(_all(size))
    figures = {condition: _middle(rounds, condition) for condition in CONDITIONS}
    _show(figures)
    targets = [
        Target(
            name=f"StartSync p99, {condition}",
            value=figures[condition]["StartSync answered"]["p99_ms"],
            unit="ms",
            wanted=MOST_MS[condition],
            at="most",
        )
        for condition in CONDITIONS
    ]
    show_targets(targets)
    told = {
        "targets": [target.told() for target in targets],
        "ratios": {},
        "rounds": size.rounds,
        "figures": figures,
    }
    report.result("latency", told)


if __name__ == "__main__":
    main()
