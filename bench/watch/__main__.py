"""`make bench-watch`: what watchers cost, and how soon they learn of a change.

Watchers are generated stubs in a process of their own, 250 streams to a connection. Two cases:

- many: 5,000 watchers spread over 1,000 syncs that run on other replicas. A tenth of these syncs writes a revision
  every second, the others every 20 seconds, since most syncs wait for a rate limit, a bulk job or their turn.
- one: 100, 1,000 and 5,000 watchers of one sync of a WooCommerce shop that takes 200 ms per reply, on the replica
  that runs it.

Of each it measures the memory of catalog_svc per watcher, the age of a snapshot when it arrives (from its
`update_time`), and for how long a watcher did not know of a change. Then a first load of 100,000 WooCommerce items
runs on the replica of the watchers as fast as this machine can: watched by 5,000, and beside 5,000 watchers of
other syncs, each compared with the same load without watchers. Watchers take as much CPU as what serves them; on a
machine with few CPUs they would take it from the sync, which browsers on other machines do not. So they run with
the lowest priority, and once with normal priority for comparison.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from bench.common.report import Target, print_result, print_table, print_targets
from bench.common.stack import temporary_directory
from bench.common.store import ServedShop, Store, running_slow_shops, running_store, shop_spec
from bench.watch.cases import (
    Cost,
    Load,
    cost_on_one_sync,
    cost_over_many_syncs,
    load_beside_watched_syncs,
    load_watched_itself,
)

KIND = "woocommerce-10.3"
SLOW_SHOP = "woocommerce:slow.example:products=30000,version=10.3"
LATENCY_MS = 200
ONE = ("one: without", "one: low priority", "one: normal priority")
MANY = ("many: without", "many: low priority")


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """How much of everything."""

    watchers: Sequence[int]
    """On one sync; the largest number also spread over `syncs`."""
    syncs: int
    seconds: float
    """For which they watch."""
    items: int
    """Of the first load."""
    rounds: int


FULL = Size(watchers=(100, 1_000, 5_000), syncs=1_000, seconds=12, items=100_000, rounds=3)
SMOKE = Size(watchers=(500,), syncs=100, seconds=4, items=20_000, rounds=1)


async def _costs(place: Path, shop: ServedShop, ca_file: str, size: Size) -> list[list[Cost]]:
    """Measure by number of watchers on one sync, and last those over many syncs.

    Each in fresh services, since freed memory is used again.
    """
    found: list[list[Cost]] = [[] for _ in range(len(size.watchers) + 1)]
    for number in range(size.rounds):
        for which, watchers in enumerate(size.watchers):
            here = place / f"cost-{number}-{which}"
            cost = await cost_on_one_sync(here, shop, ca_file=ca_file, watchers=watchers, seconds=size.seconds)
            found[which].append(cost)
        here = place / f"cost-{number}-many"
        most = max(size.watchers)
        found[-1].append(
            await cost_over_many_syncs(here, syncs=size.syncs, watchers=most, seconds=2 * size.seconds)
        )
    return found


async def _loads(place: Path, store: Store, blocker: ServedShop, size: Size) -> dict[str, list[Load]]:
    most = max(size.watchers)

    def one(here: Path, watchers: int, low_priority: bool) -> Awaitable[Load]:
        return load_watched_itself(here, store, blocker, watchers=watchers, low_priority=low_priority)

    def many(here: Path, watchers: int, low_priority: bool) -> Awaitable[Load]:
        return load_beside_watched_syncs(
            here, store, syncs=size.syncs, watchers=watchers, low_priority=low_priority
        )

    variants: dict[str, Callable[[Path], Awaitable[Load]]] = {
        ONE[0]: lambda here: one(here, 0, False),
        ONE[1]: lambda here: one(here, most, True),
        ONE[2]: lambda here: one(here, most, False),
        MANY[0]: lambda here: many(here, 0, False),
        MANY[1]: lambda here: many(here, most, True),
    }
    found: dict[str, list[Load]] = {variant: [] for variant in variants}
    # The first load fills the store's cache of answers.
    await one(place / "first", 0, False)
    # In both orders, since later runs find another machine than earlier ones.
    for number, variant in enumerate([*variants, *reversed(variants)] * size.rounds):
        found[variant].append(await variants[variant](place / f"load-{number}"))
    return found


async def _all(size: Size) -> tuple[list[list[Cost]], dict[str, list[Load]]]:
    with temporary_directory("watch") as place:
        async with running_store(place / "store", [shop_spec(KIND, size.items)]) as store:
            # One authority for the certificates of both stores.
            tls = Path(store.ca_file).parent
            async with running_slow_shops(place / "slow", [SLOW_SHOP], tls=tls, latency_ms=LATENCY_MS) as (slow,):
                costs = await _costs(place, slow, store.ca_file, size)
                return costs, await _loads(place, store, slow, size)


def _cost_figures(repetitions: Sequence[Cost]) -> dict[str, float]:
    def of(figure: Callable[[Cost], float]) -> float:
        return median(map(figure, repetitions))

    return {
        "watchers": repetitions[0].watchers,
        "syncs": repetitions[0].syncs,
        "kb_each": round(of(lambda one: one.kb_each), 1),
        "age_p50_s": round(of(lambda one: one.received.age.p50), 3),
        "age_p99_s": round(of(lambda one: one.received.age.p99), 3),
        "age_max_s": round(of(lambda one: one.received.age.max), 3),
        "last_age_p99_s": round(of(lambda one: one.received.age_of_terminal.p99), 3),
        "behind_p50_s": round(of(lambda one: one.received.behind.p50), 3),
        "behind_p99_s": round(of(lambda one: one.received.behind.p99), 3),
        "snapshots_each": round(of(lambda one: one.received.snapshots / one.watchers), 1),
        "catalog_cpu_share": round(of(lambda one: one.catalog_cpu), 3),
    }


def _load_figures(repetitions: Sequence[Load]) -> dict[str, object]:
    return {
        "seconds": round(median(one.seconds for one in repetitions), 3),
        "all_seconds": [round(one.seconds, 3) for one in repetitions],
        "cpu_s": {name: round(median(one.cpu[name] for one in repetitions), 2) for name in repetitions[0].cpu},
        "snapshots": round(median(one.snapshots for one in repetitions)),
    }


def _show(costs: Sequence[dict[str, float]], loads: dict[str, dict[str, object]], size: Size) -> None:
    columns = list(costs[0])
    print_table("Watchers", columns, [[f"{one[name]:,g}" for name in columns] for one in costs])
    columns = list(next(iter(loads.values())))
    rows = [[variant, *(str(one[name]) for name in columns)] for variant, one in loads.items()]
    title = f"First load of about {size.items:,} items, {2 * size.rounds} times each, alternating; medians"
    print_table(title, ["", *columns], rows)


def _speed(loads: dict[str, list[Load]], without: str, watched: str) -> float:
    """Return the speed with watchers divided by the speed without."""
    seconds = {variant: median(one.seconds for one in loads[variant]) for variant in (without, watched)}
    return round(seconds[without] / seconds[watched], 3)


def _targets(costs: Sequence[dict[str, float]], speeds: dict[str, float]) -> list[Target]:
    *_, one, many = costs
    on_one = f"{one['watchers']:,g} watchers on one sync"
    over_many = f"{many['watchers']:,g} watchers over {many['syncs']:,g} syncs"
    slowed = {name: round((1 / speed - 1) * 100, 1) for name, speed in speeds.items()}
    return [
        Target(name=f"{on_one}: memory of each", value=one["kb_each"], unit="KB", wanted=50, at="most"),
        Target(name=f"{over_many}: memory of each", value=many["kb_each"], unit="KB", wanted=50, at="most"),
        Target(name=f"{over_many}: age of an event, p99", value=many["age_p99_s"], unit="s", wanted=1, at="most"),
        Target(name=f"{on_one}: that sync slowed by", value=slowed["one"], unit="%", wanted=10, at="most"),
        Target(name=f"{over_many}: another sync slowed by", value=slowed["many"], unit="%", wanted=10, at="most"),
    ]


def _size(arguments: argparse.Namespace) -> Size:
    size = SMOKE if arguments.smoke else FULL
    wanted = {
        "watchers": sorted(arguments.watchers or ()),
        "syncs": arguments.syncs,
        "items": arguments.items,
        "rounds": arguments.rounds,
    }
    return replace(size, **{name: value for name, value in wanted.items() if value})


def main() -> None:
    """Print what watchers cost and received, and how much they slowed a sync."""
    parser = argparse.ArgumentParser(prog="python -m bench.watch", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="500 watchers, 100 syncs and 20,000 items, once")
    parser.add_argument("--watchers", action="append", type=int, help="repeatable [default: 100, 1000, 5000]")
    parser.add_argument("--syncs", type=int, help="over which the most watchers are spread [default: 1000]")
    parser.add_argument("--items", type=int, help="of the first load [default: 100000]")
    parser.add_argument("--rounds", type=int, help="each with two loads per variant [default: 3]")
    size = _size(parser.parse_args())
    measured, loads = asyncio.run(_all(size))
    costs = [_cost_figures(repetitions) for repetitions in measured]
    load_figures = {variant: _load_figures(repetitions) for variant, repetitions in loads.items()}
    _show(costs, load_figures, size)
    speeds = {"one": _speed(loads, ONE[0], ONE[1]), "many": _speed(loads, MANY[0], MANY[1])}
    targets = _targets(costs, speeds)
    print_targets(targets)
    figures: dict[str, object] = {
        "targets": [target.to_json() for target in targets],
        "ratios": {
            "sync_speed_with_watchers_over_without": speeds["one"],
            "sync_speed_beside_watchers_of_other_syncs_over_without": speeds["many"],
        },
        "sync_speed_with_competing_watchers_over_without": _speed(loads, ONE[0], ONE[2]),
        "rounds": size.rounds,
        "crowds": costs[:-1],
        "spread": costs[-1],
        "effects": load_figures,
    }
    print_result("watch", figures)


if __name__ == "__main__":
    main()
