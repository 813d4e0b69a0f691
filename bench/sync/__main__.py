"""`make bench-sync`: whole syncs from a shop into PostgreSQL, compared with those of other programs.

For each shop and size the store fills its cache in a round that is not measured. Then every round starts new
services on an empty database for each of our read strategies, and measures a first load, a re-sync with nothing
changed and one with 1 % of the products changed. In the same rounds peers load the same shop into empty databases
of the same PostgreSQL: dlt, with defaults and tuned, and a miniature of the legacy services. Figures
are medians of the rounds; beyond 20,000 items peers run in one round only. At last all load a slow store:
WooCommerce that takes 200 ms for each answer, where the number of calls decides, not the work.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from bench.common.report import print_result, print_targets
from bench.common.stack import temporary_directory
from bench.common.store import KINDS, running_store, shop_spec, variable_products_spec
from bench.peers.process import Peer, dlt, legacy, peers_of
from bench.sync.comparison import READ_STRATEGIES, Comparison, Plan, compare
from bench.sync.report import print_comparison, ratios, targets

LARGE_KINDS: Final = KINDS[:2]
"""The kinds of which peers load a large shop, too."""
# Beyond this size peers take minutes.
MAX_ITEMS_FOR_ALL_PEER_ROUNDS: Final = 20_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What the command line selects."""

    sizes: Mapping[str, Sequence[int]]
    """By kind of shop."""
    rounds: int
    peers: bool
    resync: bool
    smoke: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class SlowStore:
    """A WooCommerce store that takes long for each answer."""

    products: int = 200
    """Each with 10 variations."""
    latency_ms: int = 200
    rounds: int = 3
    smoke: bool = False
    """Only the peers that the ratios need; the store computes its few answers without a warm-up."""
    with_legacy: bool = False
    """Whether the legacy services load it, too, with one call for each variation."""


async def _compare_all(options: Options) -> dict[str, dict[int, Comparison]]:
    """Return the comparisons by kind and size."""
    found: dict[str, dict[int, Comparison]] = {kind: {} for kind in options.sizes}
    for kind, sizes in options.sizes.items():
        for size in sizes:
            found[kind][size] = one = await _compare_one(kind, size, options)
            print_comparison(f"{kind}, {one.items:,} items", one)
    return found


async def _compare_one(kind: str, size: int, options: Options) -> Comparison:
    small = size <= MAX_ITEMS_FOR_ALL_PEER_ROUNDS
    plan = Plan(
        strategies=tuple(strategy for strategy in READ_STRATEGIES if strategy.kind == kind),
        peers=peers_of(kind, pauses=small, smoke=options.smoke) if options.peers else (),
        rounds=options.rounds,
        peer_rounds=options.rounds if small else 1,
        resync=options.resync,
    )
    with temporary_directory("sync") as directory:
        async with running_store(directory / "store", [shop_spec(kind, size)], generations=2) as store:
            return await compare(directory, store, plan)


async def _compare_slow_stores(slow_store: SlowStore) -> dict[str, Comparison]:
    """Return first loads by us with default settings and by peers, by kind of store."""
    found = {}
    for strategy in READ_STRATEGIES:
        if strategy.kind == "shopify":
            continue
        plan = Plan(
            strategies=(strategy,),
            peers=_slow_store_peers(strategy.kind, slow_store),
            rounds=slow_store.rounds,
            peer_rounds=slow_store.rounds,
            resync=False,
            warm_up=not slow_store.smoke,
            latency_ms=slow_store.latency_ms,
        )
        with temporary_directory("slow-store") as directory:
            found[strategy.kind] = await _compare_slow_store(directory, strategy.kind, slow_store, plan)
    return found


async def _compare_slow_store(directory: Path, kind: str, slow_store: SlowStore, plan: Plan) -> Comparison:
    shop = variable_products_spec(kind, slow_store.products, 10)
    async with running_store(directory / "store", [shop]) as store:
        return await compare(directory, store, plan)


def _slow_store_peers(kind: str, slow_store: SlowStore) -> tuple[Peer, ...]:
    """Return the peers; the slow ones for one kind only, since all stores are the same for them."""
    if kind != "woocommerce-10.3":
        return (dlt("tuned"),)
    default = () if slow_store.smoke else (dlt("default"),)
    old = (legacy(variations="one by one"),) if slow_store.with_legacy else ()
    return (dlt("tuned"), *default, *old)


async def _until_stopped(work: Coroutine[Any, Any, None]) -> None:
    """Run `work`; SIGTERM cancels it as Ctrl-C does, so that all its processes are stopped."""
    task = asyncio.ensure_future(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await task


async def _run(options: Options, slow_store: SlowStore | None) -> None:
    comparisons = await _compare_all(options)
    slow: dict[str, Comparison] = {}
    if slow_store is not None:
        slow = await _compare_slow_stores(slow_store)
        for kind, one in slow.items():
            print_comparison(f"{kind}, {one.items:,} items, {slow_store.latency_ms} ms for each answer", one)
    found = targets(comparisons, slow)
    print_targets(found)
    print_result(
        "sync",
        {
            "targets": [target.to_json() for target in found],
            "ratios": ratios(comparisons, slow),
            "syncs": {
                kind: {size: asdict(one) for size, one in sizes.items()} for kind, sizes in comparisons.items()
            },
            "distant": {kind: asdict(one) for kind, one in slow.items()},
        },
    )


def _sizes(kinds: Sequence[str] | None, items: Sequence[int] | None, *, smoke: bool) -> dict[str, Sequence[int]]:
    kinds = kinds or (LARGE_KINDS if smoke else KINDS)
    if items or smoke:
        return dict.fromkeys(kinds, items or (1_500,))
    return {kind: (10_000, 100_000) if kind in LARGE_KINDS else (10_000,) for kind in kinds}


def _parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.sync", description=__doc__)
    parser.add_argument("--shop", action="append", choices=KINDS, help="[default: all]")
    parser.add_argument(
        "--items",
        action="append",
        type=int,
        help=f"size, repeatable [default: 10000, and 100000 of {' and '.join(LARGE_KINDS)}]",
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-peers", action="store_true", help="ours alone")
    parser.add_argument(
        "--slow-store", choices=("too", "only", "not"), default="too", help="the store with 200 ms for each answer"
    )
    parser.add_argument(
        "--with-legacy", action="store_true", help="the legacy services there, too: 8 minutes a repetition"
    )
    parser.add_argument(
        "--smoke", action="store_true", help="first loads of 1,500 items, once; a faster slow store"
    )
    return parser.parse_args()


def main() -> None:
    """Print a table for each shop and size, the targets and the RESULT line."""
    args = _parse_args()
    smoke = args.smoke
    options = Options(
        sizes={} if args.slow_store == "only" else _sizes(args.shop, args.items, smoke=smoke),
        rounds=1 if smoke else args.rounds,
        peers=not args.no_peers,
        resync=not smoke,
        smoke=smoke,
    )
    slow_store = SlowStore(rounds=options.rounds, with_legacy=args.with_legacy)
    if smoke:
        slow_store = SlowStore(products=50, latency_ms=100, rounds=1, smoke=True)
    asyncio.run(_until_stopped(_run(options, None if args.slow_store == "not" else slow_store)))


if __name__ == "__main__":
    main()
