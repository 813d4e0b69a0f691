"""`make bench-scale`: do more replicas share the work, and what does a row cost then?

Starts several shops at once, spread over the replicas, with 1, 2 and 4 replicas of catalog_svc, each with a
connector_svc of its own, on one PostgreSQL and an empty database. The store caches its answers in a first round
that is not measured. On a machine whose cores are all busy already, rows per second cannot grow with the replicas;
rows per CPU second show what a machine with more cores could do.
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

from bench.common import machine
from bench.common.cluster import PROCESS_KINDS, running_cluster
from bench.common.load import SyncTimes, first_load
from bench.common.measure import BenchFailed
from bench.common.report import Target, print_result, print_table
from bench.common.stack import temporary_directory
from bench.common.store import KINDS, Store, numbered_shop_spec, running_store

REPLICAS = (1, 2, 4)
_LEAST_RATIO = 0.9
"""Of the items per CPU second with the most replicas, to those with the fewest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """First loads of all shops, once."""

    seconds: float
    """From the first StartSync to the end of the last sync."""
    items: int
    cpu: dict[str, float]
    """CPU seconds by kind of process; `store` is not part of the system under test."""
    syncs: tuple[int, ...]
    """Number of syncs that each replica ran."""

    @property
    def services_cpu(self) -> float:
        """CPU seconds of both services and PostgreSQL."""
        return sum(self.cpu[kind] for kind in PROCESS_KINDS)


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundMedians:
    """Medians of the rounds with the same number of replicas."""

    repetitions: int
    items: int
    rows_per_second: int
    rows_per_cpu_second: int
    """Without the store's CPU."""
    cpu_seconds_per_100k: dict[str, float]
    cores_used: float
    """By all processes, the store included."""
    syncs_of_each_replica: list[tuple[int, ...]]
    """In each repetition."""

    @classmethod
    def of(cls, rounds: Sequence[Round]) -> RoundMedians:
        """Return the medians of at least one round."""

        def cpu(kind: str) -> float:
            return round(median(one.cpu[kind] / one.items * 100_000 for one in rounds), 2)

        return cls(
            repetitions=len(rounds),
            items=rounds[0].items,
            rows_per_second=round(median(one.items / one.seconds for one in rounds)),
            rows_per_cpu_second=round(median(one.items / one.services_cpu for one in rounds)),
            cpu_seconds_per_100k={kind: cpu(kind) for kind in rounds[0].cpu},
            cores_used=round(median(sum(one.cpu.values()) / one.seconds for one in rounds), 2),
            syncs_of_each_replica=[one.syncs for one in rounds],
        )


async def _round(directory: Path, store: Store, replicas: int) -> Round:
    # A limit below the number of shops would make the last ones wait for the first.
    limits = dict.fromkeys(
        ("CATALOG_MAX_RUNNING_SYNCS", "CATALOG_MAX_RUNNING_PER_PLATFORM"), str(len(store.shops))
    )
    async with running_cluster(
        directory, store.shops, ca_file=store.ca_file, replicas=replicas, settings=limits
    ) as cluster:
        before = {**cluster.cpu(), "store": machine.cpu_seconds(store.pid)}
        begin = time.monotonic()
        clients = cycle([replica.client for replica in cluster.replicas])
        loads = [first_load(client, shop) for client, shop in zip(clients, store.shops, strict=False)]
        await cluster.processes.supervise(store.processes.supervise(_run_all(loads)))
        seconds = time.monotonic() - begin
        after = {**cluster.cpu(), "store": machine.cpu_seconds(store.pid)}
        syncs = tuple([await replica.started_sync_count() for replica in cluster.replicas])
    return Round(
        seconds=seconds,
        items=sum(shop.items for shop in store.shops),
        cpu={kind: after[kind] - before[kind] for kind in before},
        syncs=syncs,
    )


async def _run_all(loads: Sequence[Coroutine[Any, Any, SyncTimes]]) -> None:
    await asyncio.gather(*loads)


async def _rounds(shops: Sequence[str], counts: Sequence[int], repetitions: int) -> dict[int, list[Round]]:
    """Return the rounds by number of replicas."""
    rounds: dict[int, list[Round]] = {count: [] for count in counts}
    with temporary_directory("scale") as directory:
        async with running_store(directory / "store", shops) as store:
            await _round(directory / "warm-up", store, 1)
            for repetition in range(repetitions):
                for count in counts:
                    one = await _round(directory / f"{repetition}-{count}", store, count)
                    _check(one, len(shops))
                    rounds[count].append(one)
    return rounds


def _check(one: Round, shops: int) -> None:
    if sum(one.syncs) != shops:
        raise BenchFailed(f"the replicas ran {one.syncs} syncs of {shops} shops")


def _print_medians(medians: dict[int, RoundMedians]) -> None:
    kinds = (*PROCESS_KINDS, "store")
    columns = ("replicas of each", "rows/s", "rows/CPU s", *kinds, "cores used", "syncs of each")
    rows = []
    for count, one in medians.items():
        cpu = [f"{one.cpu_seconds_per_100k[kind]:.2f}" for kind in kinds]
        figures = (f"{one.rows_per_second:,}", f"{one.rows_per_cpu_second:,}")
        syncs_of_each = "; ".join("+".join(map(str, syncs)) for syncs in one.syncs_of_each_replica)
        cores = f"{one.cores_used:.2f} of {machine.core_count()}"
        rows.append((str(count), *figures, *cpu, cores, syncs_of_each))
    print_table("Replicas; CPU in seconds per 100,000 items", columns, rows)


def _shop_specs(kinds: Sequence[str], count: int, items: int) -> list[str]:
    """Return `count` different shops of about that size, alternating between the kinds."""
    return [numbered_shop_spec(kinds[number % len(kinds)], number, items) for number in range(count)]


def main() -> None:
    """Print the medians by number of replicas and the RESULT line."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--shop", action="append", choices=KINDS, help="[default: woocommerce-10.3]")
    parser.add_argument("--shops", type=int, default=8)
    parser.add_argument("--items", type=int, default=20_000, help="of each shop")
    parser.add_argument("--replicas", action="append", type=int, help="repeatable [default: 1, 2 and 4]")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--smoke", action="store_true", help="4 shops of 5,000 items, one round of 1 and of 4")
    args = parser.parse_args()
    if args.smoke:
        args.shops, args.items, args.replicas, args.rounds = 4, 5_000, [1, 4], 1
    counts = sorted(set(args.replicas or REPLICAS))
    shops = _shop_specs(args.shop or ["woocommerce-10.3"], args.shops, args.items)
    rounds = asyncio.run(_rounds(shops, counts, args.rounds))
    medians = {count: RoundMedians.of(of_count) for count, of_count in rounds.items()}
    _print_medians(medians)
    most, least = medians[counts[-1]], medians[counts[0]]
    ratio = round(most.rows_per_cpu_second / least.rows_per_cpu_second, 3)
    replicas = f"{counts[-1]} replicas / {counts[0]}: items per CPU second"
    target = Target(name=replicas, value=ratio, unit="x", wanted=_LEAST_RATIO, at="least")
    print_result(
        "scale",
        {
            "targets": [target.to_json()],
            "ratios": {f"rows_per_cpu_second_{counts[-1]}_over_{counts[0]}": ratio},
            "rows_per_second": {count: one.rows_per_second for count, one in medians.items()},
            "replicas": {count: asdict(one) for count, one in medians.items()},
        },
    )


if __name__ == "__main__":
    main()
