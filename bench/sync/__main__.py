"""`make bench-sync`: whole syncs from a shop into PostgreSQL, first and again, and beside them those of others.

For each shop and size the store learns its answers in a round that is not counted. Then every round starts fresh
services on an empty database for each way of reading the shop, and measures a first load, a re-sync with nothing
changed and one with 1 % of the products changed. In the same rounds peers load the same shop into empty databases
of the same PostgreSQL: dlt, as it comes and tuned, and a miniature of the old design. Figures are medians of the
rounds; beyond 20,000 items peers have one. At last all load a WooCommerce store that takes 200 ms for each answer.


A WooCommerce store that takes long for each answer: there the number of calls decides, not the work."""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from bench.common import report
from bench.common.report import show_targets
from bench.common.stack import running_store, workplace
from bench.common.store import KINDS, families_of, shop_of
from bench.peers.process import Peer
from bench.sync.comparison import WAYS, Compared, Plan, compared, dlt, old_design, peers_of
from bench.sync.report import ratios, show, targets

LARGE_KINDS: Final = KINDS[:2]
"""Those of which peers read a large shop, too."""
MANY: Final = 20_000
"""Items; peers take minutes for more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What the command line says."""

    sizes: Mapping[str, Sequence[int]]
    """By kind of shop."""
    rounds: int
    peers: bool
    again: bool
    smoke: bool


async def _wholes(asked: Asked) -> dict[str, dict[int, Compared]]:
    """By kind and size."""
    found: dict[str, dict[int, Compared]] = {kind: {} for kind in asked.sizes}
    for kind, sizes in asked.sizes.items():
        for size in sizes:
            found[kind][size] = one = await _whole(kind, size, asked)
            show(f"{kind}, {one.items:,} items", one)
    return found


async def _whole(kind: str, size: int, asked: Asked) -> Compared:
    plan = Plan(
        ways=tuple(way for way in WAYS if way.kind == kind),
        peers=peers_of(kind, pauses=size <= MANY, smoke=asked.smoke) if asked.peers else (),
        rounds=asked.rounds,
        peer_rounds=asked.rounds if size <= MANY else 1,
        again=asked.again,
    )
    with workplace("sync") as place:
        async with running_store(place / "store", shop_of(kind, size), remember=True) as store:
            return await compared(place, store, plan)


async def _until_stopped(work: Coroutine[Any, Any, None]) -> None:
    """SIGTERM stops it as Ctrl-C does: with all processes that it has started."""
    working = asyncio.ensure_future(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, working.cancel)
    await working


async def _all(asked: Asked, distance: Distance | None) -> None:
    wholes = await _wholes(asked)
    far = await distant(distance) if distance else {}
    for kind, one in far.items():
        show(f"{kind}, {one.items:,} items, each answer {distance.ms if distance else 0} ms late", one)
    found = targets(wholes, far)
    show_targets(found)
    report.result(
        "sync",
        {
            "targets": [target.told() for target in found],
            "ratios": ratios(wholes, far),
            "syncs": {kind: {size: asdict(one) for size, one in sizes.items()} for kind, sizes in wholes.items()},
            "distant": {kind: asdict(one) for kind, one in far.items()},
        },
    )


def _sizes(kinds: Sequence[str] | None, items: Sequence[int] | None, *, smoke: bool) -> dict[str, Sequence[int]]:
    kinds = kinds or (LARGE_KINDS if smoke else KINDS)
    if items or smoke:
        return dict.fromkeys(kinds, items or (1_500,))
    return {kind: (10_000, 100_000) if kind in LARGE_KINDS else (10_000,) for kind in kinds}


def main() -> None:
    """Prints a table for each shop and size, and the targets."""
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
    parser.add_argument("--latency", choices=("too", "only", "not"), default="too", help="the distant store")
    parser.add_argument(
        "--with-old", action="store_true", help="the old design there, too: 8 minutes a repetition"
    )
    parser.add_argument("--smoke", action="store_true", help="first loads of 1,500 items, once; a nearer store")
    given = parser.parse_args()
    smoke = given.smoke
    asked = Asked(
        sizes={} if given.latency == "only" else _sizes(given.shop, given.items, smoke=smoke),
        rounds=1 if smoke else given.rounds,
        peers=not given.no_peers,
        again=not smoke,
        smoke=smoke,
    )
    distance = Distance(rounds=asked.rounds, with_old=given.with_old)
    if smoke:
        distance = Distance(products=50, ms=100, rounds=1, smoke=True)
    asyncio.run(_until_stopped(_all(asked, None if given.latency == "not" else distance)))


if __name__ == "__main__":
    main()


@dataclass(frozen=True, kw_only=True, slots=True)
class Distance:
    """How far away which store is."""

    products: int = 200
    """Each with 10 variations."""
    ms: int = 200
    rounds: int = 3
    smoke: bool = False
    """Only the peers that the ratios need; the store works its few answers out."""
    with_old: bool = False
    """The same of the old design, which asks for each variation by itself."""


async def distant(distance: Distance) -> dict[str, Compared]:
    """First loads by us, as it is delivered, and by peers, by kind of store; dlt tuned has four connections."""
    found = {}
    for way in WAYS:
        if way.kind == "shopify":
            continue
        plan = Plan(
            ways=(way,),
            peers=_peers(way.kind, distance),
            rounds=distance.rounds,
            peer_rounds=distance.rounds,
            again=False,
            taught=not distance.smoke,
            delay_ms=distance.ms,
        )
        with workplace("distant") as place:
            found[way.kind] = await _loaded(place, way.kind, distance, plan)
    return found


async def _loaded(place: Path, kind: str, distance: Distance, plan: Plan) -> Compared:
    shop = families_of(kind, distance.products, 10)
    async with running_store(place / "store", shop, remember=True) as store:
        return await compared(place, store, plan)


def _peers(kind: str, distance: Distance) -> tuple[Peer, ...]:
    """The slow ones once, since all stores are the same for them."""
    if kind != "woocommerce-10.3":
        return (dlt("tuned"),)
    default = () if distance.smoke else (dlt("default"),)
    old = (old_design(variations="one by one"),) if distance.with_old else ()
    return (dlt("tuned"), *default, *old)
