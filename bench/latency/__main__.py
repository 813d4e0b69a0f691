"""`make bench-latency`: how soon does the catalog answer and act?

WooCommerce shops of 50 products are synced for the first time, one after the other, each watched from the answer
of StartSync on; in between, syncs of a shop that answers after 200 ms are cancelled as soon as they run. Once on
an idle system, once beside two WooCommerce shops of 100,000 items that are synced again and again, the first time
all new. Each repetition does both, in new services on an empty database. Percentiles are those of one repetition,
and the reported figures are medians of the repetitions.

A health check every 10 ms measures how long the catalog's event loop was busy: it needs nothing else, no database.
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

from bench.common.cluster import Cluster, running_cluster
from bench.common.load import background_load
from bench.common.measure import BenchFailed, percentile
from bench.common.report import Target, print_result, print_table, print_targets
from bench.common.stack import temporary_directory
from bench.common.store import ServedShop, numbered_shop_spec, running_slow_shops, running_store
from bench.latency.steps import CancelledSync, CompleteSync, cancel_sync, run_sync, timed_health_checks
from catalog_svc.storage.engine import open_engine

KIND = "woocommerce-10.3"
SMALL_SHOP_ITEMS = 200
SLOW_SHOP = "woocommerce:slow.example:products=5000,version=10.3"
SLOW_SHOP_LATENCY_MS = 200
CONDITIONS = ("idle", "under load")
MAX_START_SYNC_P99_MS: Final = {"idle": 20, "under load": 100}

_STORED_AT = text("SELECT sync_id, progressed_at FROM sync WHERE sync_id = ANY(:sync_ids) AND items_seen > 0")

Figures = dict[str, dict[str, float]]
"""By name: p50_ms, p99_ms, max_ms, and count."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """Numbers and sizes of shops."""

    shops: int
    """Small shops for each condition."""
    large_items: int
    large_shops: int
    rounds: int


FULL = Size(shops=100, large_items=100_000, large_shops=2, rounds=3)
SMOKE = Size(shops=15, large_items=20_000, large_shops=1, rounds=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shops:
    """The served shops."""

    small: Sequence[ServedShop]
    large: Sequence[ServedShop]
    slow: ServedShop
    ca_file: str


async def _measure(cluster: Cluster, small: Sequence[ServedShop], slow: ServedShop) -> Figures:
    """Measure under one condition."""
    replica = cluster.replicas[0]
    syncs, cancels = [], []
    async with timed_health_checks(replica.address) as health_checks:
        for shop in small:
            syncs.append(await run_sync(replica.client, shop))
            cancels.append(await cancel_sync(replica.client, slow))
    return _figures(syncs, cancels, await _stored_after(cluster, syncs), health_checks)


async def _stored_after(cluster: Cluster, syncs: Sequence[CompleteSync]) -> list[float]:
    """Return the seconds from each StartSync until its items, which are one batch, were about to be committed."""
    engine = open_engine(cluster.database_url, pool_size=1)
    try:
        async with engine.connect() as connection:
            rows = await connection.execute(_STORED_AT, {"sync_ids": [one.sync_id for one in syncs]})
            stored = {str(row.sync_id): row.progressed_at.timestamp() for row in rows}
    finally:
        await engine.dispose()
    if len(stored) != len(syncs):
        raise BenchFailed(f"{len(syncs) - len(stored)} syncs stored nothing")
    return [stored[one.sync_id] - one.called for one in syncs]


def _figures(
    syncs: Sequence[CompleteSync],
    cancels: Sequence[CancelledSync],
    stored: Sequence[float],
    health_checks: Sequence[float],
) -> Figures:
    starts = [one.answered for one in syncs] + [one.start_answered for one in cancels]
    return {
        "StartSync answered": _percentiles(starts),
        "first progress event at a watcher": _percentiles([one.first_event for one in syncs]),
        "first items stored": _percentiles(stored),
        "sync of 50 products ended": _percentiles([one.ended for one in syncs]),
        "CancelSync answered": _percentiles([one.answered for one in cancels]),
        "cancelled, seen by a watcher": _percentiles([one.seen for one in cancels]),
        "event loop busy (health check)": _percentiles(health_checks),
    }


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    return {
        "p50_ms": round(percentile(seconds, 50) * 1000, 1),
        "p99_ms": round(percentile(seconds, 99) * 1000, 1),
        "max_ms": round(max(seconds) * 1000, 1),
        "count": len(seconds),
    }


async def _repetition(directory: Path, shops: Shops) -> dict[str, Figures]:
    all_shops = (*shops.small, *shops.large, shops.slow)
    half = len(shops.small) // 2
    async with running_cluster(directory, all_shops, ca_file=shops.ca_file) as cluster, AsyncExitStack() as stack:
        idle = await cluster.processes.supervise(_measure(cluster, shops.small[:half], shops.slow))
        for shop in shops.large:
            await stack.enter_async_context(background_load(cluster.replicas[0].client, shop))
        loaded = await cluster.processes.supervise(_measure(cluster, shops.small[half:], shops.slow))
    return dict(zip(CONDITIONS, (idle, loaded), strict=True))


async def _warm_up(directory: Path, shops: Shops) -> None:
    """Have the stores compute and cache their answers, which is slower than reading them."""
    cached = (*shops.small, *shops.large)
    async with running_cluster(directory, cached, ca_file=shops.ca_file) as cluster:
        for shop in cached:
            await run_sync(cluster.replicas[0].client, shop)


async def _repetitions(size: Size) -> list[dict[str, Figures]]:
    with temporary_directory("latency") as directory:
        tls = directory / "tls"
        small = [numbered_shop_spec(KIND, number, SMALL_SHOP_ITEMS) for number in range(2 * size.shops)]
        large = [numbered_shop_spec(KIND, 9_000 + number, size.large_items) for number in range(size.large_shops)]
        async with (
            running_store(directory / "small", small, tls=tls) as small_store,
            running_store(directory / "large", large, tls=tls) as large_store,
            running_slow_shops(directory / "slow", [SLOW_SHOP], tls=tls, latency_ms=SLOW_SHOP_LATENCY_MS) as (
                slow,
            ),
        ):
            shops = Shops(small=small_store.shops, large=large_store.shops, slow=slow, ca_file=small_store.ca_file)
            await _warm_up(directory / "warm-up", shops)
            return [await _repetition(directory / f"round-{number}", shops) for number in range(size.rounds)]


def _medians(rounds: Sequence[dict[str, Figures]], condition: str) -> Figures:
    first = rounds[0][condition]
    return {
        figure: {name: round(median(one[condition][figure][name] for one in rounds), 1) for name in first[figure]}
        for figure in first
    }


def _print_figures(figures: dict[str, Figures]) -> None:
    rows = []
    for figure in figures[CONDITIONS[0]]:
        by_condition = (figures[condition][figure] for condition in CONDITIONS)
        rows.append(
            (figure, *(f"{one[name]:,.1f}" for one in by_condition for name in ("p50_ms", "p99_ms", "max_ms")))
        )
    columns = ["", *(f"{condition}, {name}" for condition in CONDITIONS for name in ("p50", "p99", "max"))]
    print_table("Milliseconds", columns, rows)


def main() -> None:
    """Print percentiles of each step, idle and under load, the targets and the RESULT line."""
    parser = argparse.ArgumentParser(prog="python -m bench.latency", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="15 small shops for each condition, once")
    parser.add_argument("--rounds", type=int, help="[default: 3]")
    args = parser.parse_args()
    size = SMOKE if args.smoke else FULL
    size = replace(size, rounds=args.rounds or size.rounds)
    rounds = asyncio.run(_repetitions(size))
    figures = {condition: _medians(rounds, condition) for condition in CONDITIONS}
    _print_figures(figures)
    targets = [
        Target(
            name=f"StartSync p99, {condition}",
            value=figures[condition]["StartSync answered"]["p99_ms"],
            unit="ms",
            wanted=MAX_START_SYNC_P99_MS[condition],
            at="most",
        )
        for condition in CONDITIONS
    ]
    print_targets(targets)
    print_result(
        "latency",
        {
            "targets": [target.to_json() for target in targets],
            "ratios": {},
            "rounds": size.rounds,
            "figures": figures,
        },
    )


if __name__ == "__main__":
    main()
