"""`make bench-sync`: whole syncs from a shop into PostgreSQL, first and again.

For each shop and size a first round makes the store remember its answers. Then every round starts fresh services
on an empty database and measures a first load, a re-sync with nothing changed and one with 1 % of the products
changed. Figures are medians of the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bench import report
from bench.measure import BenchFailed, Measured, measured_sync
from bench.medians import Medians, middle
from bench.shops import KINDS, shop_of
from bench.stack import Store, running_stack, running_store, workplace

PROCESSES = ("connector_svc", "catalog_svc", "postgresql", "store")
STEPS = ("first load", "nothing changed", "1 % changed")
Round = dict[str, Measured]


async def _round(place: Path, store: Store) -> Round:
    async with running_stack(place, store) as stack:
        await store.choose(0)
        first = await measured_sync(stack, store)
        again = await measured_sync(stack, store)
        await store.choose(1)
        changed = await measured_sync(stack, store)
    done = dict(zip(STEPS, (first, again, changed), strict=True))
    _check(done, store)
    return done


def _check(done: Round, store: Store) -> None:
    """Each sync did what its name says, or its figures mean nothing."""
    wanted = {
        "first load": (store.items, 0),
        "nothing changed": (0, 0),
        "1 % changed": (0, store.products // 100),
    }
    for step, measured in done.items():
        if (measured.created, measured.updated) != wanted[step]:
            raise BenchFailed(
                f"{step}: {measured.created:,} items were created and {measured.updated:,} updated, "
                f"not {wanted[step][0]:,} and {wanted[step][1]:,}"
            )


async def _rounds(kind: str, items: int, rounds: int) -> dict[str, list[Measured]]:
    with workplace("sync") as place:
        async with running_store(place / "store", shop_of(kind, items), remember=True) as store:
            done = [await _round(place / f"round-{number}", store) for number in range(rounds + 1)]
    # The first one has taught the store.
    return {step: [one[step] for one in done[1:]] for step in STEPS}


def _show(title: str, steps: dict[str, Medians]) -> None:
    columns = ("", "rows/s", "connector", "catalog", "postgresql", "store", "WAL MB", "dead tuples")
    rows = []
    for step, median in steps.items():
        seconds = [f"{median.cpu_per_100k[name]:.2f}" for name in PROCESSES]
        last = (f"{median.wal_bytes / 1e6:,.1f}", f"{median.dead_tuples:,}")
        rows.append((step, f"{median.rows_per_second:,}", *seconds, *last))
    report.show(f"{title}; CPU in seconds per 100,000 items", columns, rows)


async def _all(kinds: Sequence[str], sizes: Sequence[int], rounds: int) -> dict[str, dict[str, Medians]]:
    found = {}
    for kind in kinds:
        for items in sizes:
            measured = await _rounds(kind, items, rounds)
            steps = {step: middle(repetitions) for step, repetitions in measured.items()}
            found[f"{kind}, {items:,} items"] = steps
            _show(f"{kind}, {items:,} items", steps)
    return found


def main() -> None:
    """Prints a table for each shop and size."""
    parser = argparse.ArgumentParser(prog="python -m bench.sync", description=__doc__)
    parser.add_argument("--shop", action="append", choices=KINDS, help="[default: all]")
    parser.add_argument("--items", action="append", type=int, help="size, repeatable [default: 10000 and 100000]")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    found = asyncio.run(_all(asked.shop or KINDS, asked.items or [10_000, 100_000], asked.rounds))
    syncs = {title: {step: asdict(one) for step, one in steps.items()} for title, steps in found.items()}
    report.result("sync", {"syncs": syncs})


if __name__ == "__main__":
    main()
