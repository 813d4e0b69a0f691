"""`make bench-scale`: do more replicas share the work, and what does a row cost then?

Starts several shops at once, spread over the replicas, with 1, 2 and 4 replicas of catalog_svc, each with a
connector_svc of its own, on one PostgreSQL and an empty database. The store remembers its answers from a first
round that is not counted. On a machine whose cores are all busy already, rows per second cannot grow with the
replicas; rows per CPU second tell what a machine with more cores could do.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Coroutine, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any

from bench.common import machine, report
from bench.common.cluster import KINDS, core_count, running_cluster, syncs_taken_up
from bench.common.load import Followed, first_load
from bench.common.measure import BenchFailed
from bench.common.stack import workplace
from bench.common.store import KINDS as SHOP_KINDS
from bench.common.store import Stores, numbered_shop, running_stores

REPLICAS = (1, 2, 4)


@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """All shops loaded once."""

    seconds: float
    """From the first StartSync to the end of the last sync."""
    items: int
    cpu: dict[str, float]
    """Seconds by kind of process; `store` is not ours."""
    syncs: tuple[int, ...]
    """Run by each replica."""

    @property
    def our_cpu(self) -> float:
        """Seconds of both services and PostgreSQL."""
        return sum(self.cpu[kind] for kind in KINDS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """Medians of the rounds with the same number of replicas."""

    repetitions: int
    items: int
    rows_per_second: int
    rows_per_cpu_second: int
    """Without the store's CPU."""
    cpu_seconds_per_100k: dict[str, float]
    cores_used: float
    """By all processes, the store among them."""
    syncs_of_each_replica: list[tuple[int, ...]]
    """In each repetition."""


async def _round(place: Path, stores: Stores, replicas: int) -> Round:
    # A bound below the number of shops would make the last ones wait for the first.
    bounds = dict.fromkeys(
        ("CATALOG_MAX_RUNNING_SYNCS", "CATALOG_MAX_RUNNING_PER_PLATFORM"), str(len(stores.shops))
    )
    async with running_cluster(
        place, stores.shops, ca_file=stores.ca_file, replicas=replicas, settings=bounds
    ) as cluster:
        before = {**cluster.cpu(), "store": machine.cpu_seconds(stores.pid)}
        begin = time.monotonic()
        clients = cycle([replica.client for replica in cluster.replicas])
        loads = [first_load(client, shop) for client, shop in zip(clients, stores.shops, strict=False)]
        await cluster.family.supervise(stores.family.supervise(_all(loads)))
        seconds = time.monotonic() - begin
        after = {**cluster.cpu(), "store": machine.cpu_seconds(stores.pid)}
        syncs = tuple([await syncs_taken_up(replica) for replica in cluster.replicas])
    return Round(
        seconds=seconds,
        items=sum(shop.items for shop in stores.shops),
        cpu={kind: after[kind] - before[kind] for kind in before},
        syncs=syncs,
    )


async def _all(loads: Sequence[Coroutine[Any, Any, Followed]]) -> None:
    await asyncio.gather(*loads)


async def _rounds(shops: Sequence[str], counts: Sequence[int], repetitions: int) -> dict[int, list[Round]]:
    done: dict[int, list[Round]] = {count: [] for count in counts}
    with workplace("scale") as place:
        async with running_stores(place / "stores", shops, tls=place / "tls") as stores:
            await _round(place / "taught", stores, 1)
            for repetition in range(repetitions):
                for count in counts:
                    one = await _round(place / f"{repetition}-{count}", stores, count)
                    _check(one, len(shops))
                    done[count].append(one)
    return done


def _check(one: Round, shops: int) -> None:
    if sum(one.syncs) != shops:
        raise BenchFailed(f"the replicas ran {one.syncs} syncs of {shops} shops")


def _middle(rounds: Sequence[Round]) -> Scale:
    def cpu(kind: str) -> float:
        return round(median(one.cpu[kind] / one.items * 100_000 for one in rounds), 2)

    return Scale(
        repetitions=len(rounds),
        items=rounds[0].items,
        rows_per_second=round(median(one.items / one.seconds for one in rounds)),
        rows_per_cpu_second=round(median(one.items / one.our_cpu for one in rounds)),
        cpu_seconds_per_100k={kind: cpu(kind) for kind in rounds[0].cpu},
        cores_used=round(median(sum(one.cpu.values()) / one.seconds for one in rounds), 2),
        syncs_of_each_replica=[one.syncs for one in rounds],
    )


def _show(found: dict[int, Scale]) -> None:
    columns = ("replicas of each", "rows/s", "rows/CPU s", *(*KINDS, "store"), "cores used", "syncs of each")
    rows = []
    for count, scale in found.items():
        cpu = [f"{scale.cpu_seconds_per_100k[kind]:.2f}" for kind in (*KINDS, "store")]
        figures = (f"{scale.rows_per_second:,}", f"{scale.rows_per_cpu_second:,}")
        shares = "; ".join("+".join(map(str, syncs)) for syncs in scale.syncs_of_each_replica)
        rows.append((str(count), *figures, *cpu, f"{scale.cores_used:.2f} of {core_count()}", shares))
    report.show("Replicas; CPU in seconds per 100,000 items", columns, rows)


def _shops(kinds: Sequence[str], count: int, items: int) -> list[str]:
    """`count` different shops of about that size, the kinds taking turns."""
    return [numbered_shop(kinds[number % len(kinds)], number, items) for number in range(count)]


def main() -> None:
    """Prints what each number of replicas came to."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--shop", action="append", choices=SHOP_KINDS, help="[default: woocommerce-10.3]")
    parser.add_argument("--shops", type=int, default=8)
    parser.add_argument("--items", type=int, default=20_000, help="of each shop")
    parser.add_argument("--replicas", action="append", type=int, help="repeatable [default: 1, 2 and 4]")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--smoke", action="store_true", help="4 shops of 5,000 items, one round of 1 and of 4")
    asked = parser.parse_args()
    if asked.smoke:
        asked.shops, asked.items, asked.replicas, asked.rounds = 4, 5_000, [1, 4], 1
    counts = sorted(set(asked.replicas or REPLICAS))
    shops = _shops(asked.shop or ["woocommerce-10.3"], asked.shops, asked.items)
    rounds = asyncio.run(_rounds(shops, counts, asked.rounds))
    found = {count: _middle(done) for count, done in rounds.items()}
    _show(found)
    most, least = found[counts[-1]], found[counts[0]]
    ratio = round(most.rows_per_cpu_second / least.rows_per_cpu_second, 3)
    report.result(
        "scale",
        {
            "targets": [],
            "ratios": {f"rows_per_cpu_second_{counts[-1]}_over_{counts[0]}": ratio},
            "rows_per_second": {count: scale.rows_per_second for count, scale in found.items()},
            "replicas": {count: asdict(scale) for count, scale in found.items()},
        },
    )


if __name__ == "__main__":
    main()
