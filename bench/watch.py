"""`make bench-watch`: what does it take to be watched?

Watchers are generated stubs in one process of their own, 250 streams to a connection, all on one sync.

1. On a WooCommerce sync that runs at the pace of its shop (200 ms a reply), with 100, 1,000 and 5,000 watchers:
   memory of catalog_svc for each, age of a snapshot when it arrives (from its `update_time`), and for how long a
   watcher did not know of a change, whether it was told of that one or of a later one.
2. A first load of 100,000 WooCommerce items as fast as this machine can, without watchers and with 5,000, attached
   before it starts. Watchers take as much CPU as what serves them. On a machine with few CPUs they would take it
   from the sync, which nobody's browser does; so in one variant they run with the lowest priority and take only
   what nobody else wants. Beside it stands the variant in which they compete.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from bench.common.report import Target, print_result, print_table, print_targets
from bench.common.stack import temporary_directory
from bench.common.store import ServedShop, Store, running_store, shop_spec
from bench.watchers.effect import Watched, watched_sync
from bench.watchers.paced import paced_shops
from bench.watchers.presence import Present, present

KIND = "woocommerce-10.3"
PACED = "woocommerce:slow.example:products=30000,version=10.3"
LATENCY_MS = 200
VARIANTS = ("without", "with, yielding", "with, competing")


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """How much of everything."""

    crowds: Sequence[int]
    seconds: float
    """For which a crowd watches."""
    items: int
    rounds: int


FULL = Size(crowds=(100, 1_000, 5_000), seconds=12, items=100_000, rounds=3)
SMOKE = Size(crowds=(500,), seconds=4, items=20_000, rounds=1)


async def _presences(place: Path, shop: ServedShop, ca_file: str, size: Size) -> list[list[Present]]:
    """By crowd; each in fresh services, for freed memory is used again."""
    found: list[list[Present]] = [[] for _ in size.crowds]
    for number in range(size.rounds):
        for which, watchers in enumerate(size.crowds):
            there = place / f"presence-{number}-{which}"
            one = await present(there, shop, ca_file=ca_file, watchers=watchers, seconds=size.seconds)
            found[which].append(one)
    return found


async def _effects(place: Path, store: Store, blocker: ServedShop, size: Size) -> dict[str, list[Watched]]:
    found: dict[str, list[Watched]] = {variant: [] for variant in VARIANTS}
    # The first one teaches the store.
    await watched_sync(place / "first", store, blocker, watchers=0, yielding=False)
    # There and back: who comes later has no other place than who comes earlier.
    for number, variant in enumerate([*VARIANTS, *reversed(VARIANTS)] * size.rounds):
        watchers = 0 if variant == VARIANTS[0] else max(size.crowds)
        there = place / f"effect-{number}"
        one = await watched_sync(there, store, blocker, watchers=watchers, yielding=variant == VARIANTS[1])
        found[variant].append(one)
    return found


async def _all(size: Size) -> tuple[list[list[Present]], dict[str, list[Watched]]]:
    with temporary_directory("watch") as place:
        async with running_store(place / "store", [shop_spec(KIND, size.items)]) as store:
            # One authority for the certificates of both stores.
            tls = Path(store.ca_file).parent
            async with paced_shops(place / "paced", [PACED], tls=tls, latency_ms=LATENCY_MS) as (slow,):
                presences = await _presences(place, slow, store.ca_file, size)
                return presences, await _effects(place, store, slow, size)


def _middle(repetitions: Sequence[Present], figure: Callable[[Present], float]) -> float:
    return median(map(figure, repetitions))


def _crowd(repetitions: Sequence[Present]) -> dict[str, float]:
    def of(figure: Callable[[Present], float]) -> float:
        return _middle(repetitions, figure)

    return {
        "watchers": repetitions[0].watchers,
        "kb_each": round(of(lambda one: one.kb_each), 1),
        "age_p50_s": round(of(lambda one: one.seen.age.p50), 3),
        "age_p99_s": round(of(lambda one: one.seen.age.p99), 3),
        "age_max_s": round(of(lambda one: one.seen.age.max), 3),
        "last_age_p99_s": round(of(lambda one: one.seen.age_of_the_last.p99), 3),
        "behind_p50_s": round(of(lambda one: one.seen.behind.p50), 3),
        "behind_p99_s": round(of(lambda one: one.seen.behind.p99), 3),
        "snapshots_each": round(of(lambda one: one.seen.snapshots / one.watchers), 1),
        "catalog_cpu_share": round(of(lambda one: one.catalog_cpu), 3),
    }


def _effect(repetitions: Sequence[Watched], watchers: int) -> dict[str, object]:
    return {
        "watchers": watchers,
        "seconds": round(median(one.seconds for one in repetitions), 3),
        "all_seconds": [round(one.seconds, 3) for one in repetitions],
        "cpu_s": {name: round(median(one.cpu[name] for one in repetitions), 2) for name in repetitions[0].cpu},
        "snapshots_each": round(median(one.snapshots for one in repetitions) / max(watchers, 1), 1),
    }


def _show(crowds: Sequence[dict[str, float]], effects: dict[str, dict[str, object]], size: Size) -> None:
    columns = list(crowds[0])
    rows = [[f"{one[name]:,g}" for name in columns] for one in crowds]
    print_table(f"Watchers of a sync of a shop that answers after {LATENCY_MS} ms", columns, rows)
    columns = list(next(iter(effects.values())))
    rows = [[variant, *(str(one[name]) for name in columns)] for variant, one in effects.items()]
    title = f"First load of about {size.items:,} items, {2 * size.rounds} times each, alternating; medians"
    print_table(title, ["", *columns], rows)


def _speed(effects: dict[str, list[Watched]], variant: str) -> float:
    """With watchers over without."""
    without, watched = (median(one.seconds for one in effects[name]) for name in (VARIANTS[0], variant))
    return round(without / watched, 3)


def _targets(crowd: dict[str, float], slowed: float) -> list[Target]:
    many = f"{crowd['watchers']:,} watchers"
    return [
        Target(name=f"{many}: memory of each", value=crowd["kb_each"], unit="KB", wanted=50, at="most"),
        Target(name=f"{many}: age of an event, p99", value=crowd["age_p99_s"], unit="s", wanted=1, at="most"),
        Target(name=f"{many}: a running sync slowed by", value=slowed, unit="%", wanted=5, at="most"),
    ]


def _size(asked: argparse.Namespace) -> Size:
    size = SMOKE if asked.smoke else FULL
    wanted = {"crowds": sorted(asked.watchers or ()), "items": asked.items, "rounds": asked.rounds}
    return replace(size, **{name: value for name, value in wanted.items() if value})


def main() -> None:
    """Prints what each crowd took and got, and what it cost a sync."""
    parser = argparse.ArgumentParser(prog="python -m bench.watch", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="500 watchers and 20,000 items, once")
    parser.add_argument("--watchers", action="append", type=int, help="repeatable [default: 100, 1000, 5000]")
    parser.add_argument("--items", type=int, help="of the sync that is not to be slowed [default: 100000]")
    parser.add_argument("--rounds", type=int, help="of syncs there are twice as many [default: 3]")
    size = _size(parser.parse_args())
    presences, effects = asyncio.run(_all(size))
    crowds = [_crowd(repetitions) for repetitions in presences]
    told = {
        variant: _effect(repetitions, max(size.crowds) if number else 0)
        for number, (variant, repetitions) in enumerate(effects.items())
    }
    _show(crowds, told, size)
    yielding = _speed(effects, VARIANTS[1])
    targets = _targets(crowds[-1], round((1 / yielding - 1) * 100, 1))
    print_targets(targets)
    figures: dict[str, object] = {
        "targets": [target.to_json() for target in targets],
        "ratios": {"sync_speed_with_watchers_over_without": yielding},
        "sync_speed_with_competing_watchers_over_without": _speed(effects, VARIANTS[2]),
        "rounds": size.rounds,
        "crowds": crowds,
        "effects": told,
    }
    print_result("watch", figures)


if __name__ == "__main__":
    main()
