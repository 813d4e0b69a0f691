"""`make bench-write`: rows per second of our batch writer, compared with common ways to write and with the limit.

On one embedded PostgreSQL with our schema and all its indexes, batches of the same decoded rows are stored by

- ours: `BatchStore.apply`, the whole transaction of a batch with fence, comparison, seen ids and progress;
- multi-row: SQLAlchemy's `insert().values([...]).on_conflict_do_update`;
- ORM: get, then add or change, and a commit for each item, as the legacy services did;
- raw COPY straight into the two tables, which can do nothing but a first load: the limit.

Decoding is not included: every writer gets its input already converted. Each round gives each writer a fresh
database, in another order; every step begins after a checkpoint. After every step the rows must be those that raw
COPY stores for the same generation. Slow writers get fewer items: their rate does not depend on the size.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Final

from bench.common.measure import BenchFailed
from bench.common.report import Target, print_result, print_table, print_targets
from bench.common.stack import temporary_directory
from bench.write.catalog import FullProduct, batches, first_products, generate, revise
from bench.write.database import Fingerprint, Server, running_server
from bench.write.measure import StepMeasurement, StepMedians, Writer, measure_step, speed_ratio
from bench.write.writers import batch_writer, multi_row, orm, raw_copy
from catalog_svc.usecases.sync_limits import RunConfig

FIRST_LOAD: Final = "first load"
NOTHING_CHANGED: Final = "nothing changed"
FEW_CHANGED: Final = "1 % changed"
ALL_CHANGED: Final = "100 % changed"
STEPS: Final = (FIRST_LOAD, NOTHING_CHANGED, FEW_CHANGED, ALL_CHANGED)

Round = dict[str, dict[str, StepMeasurement]]
"""By writer and step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Contender:
    """A writer, with the number of items and the steps that it is measured with."""

    writer: Writer
    items: int
    steps: tuple[str, ...]


class Bench:
    """Runs contenders on one server.

    Args:
        server: Creates a fresh database for each run.
        generations: Products of the shop at each step.
        batch_items: Items per transaction.
    """

    def __init__(self, server: Server, generations: Mapping[str, Sequence[FullProduct]], batch_items: int) -> None:
        self._server = server
        self._generations = generations
        self._batch_items = batch_items
        self._expected: dict[tuple[str, int], Fingerprint] = {}

    async def compute_expected(self, contender: Contender) -> None:
        """Store what must be stored after each of its steps with raw COPY, and keep the fingerprints."""
        for step in contender.steps:
            if (step, contender.items) not in self._expected:
                async with self._server.database() as database:
                    await measure_step(database, raw_copy, self._batches(step, contender.items))
                    self._expected[step, contender.items] = await database.fingerprint()

    async def run(self, name: str, contender: Contender) -> dict[str, StepMeasurement]:
        """Measure all its steps on a fresh database. Raise BenchFailed unless each stored the expected rows."""
        steps = {}
        async with self._server.database() as database:
            for step in contender.steps:
                step_batches = self._batches(step, contender.items)
                steps[step] = await measure_step(database, contender.writer, step_batches)
                found, expected = await database.fingerprint(), self._expected[step, contender.items]
                if found != expected:
                    raise BenchFailed(f"{name}, {step}: the rows are {found}, not {expected}")
        return steps

    def _batches(self, step: str, items: int) -> list[Sequence[FullProduct]]:
        return list(batches(first_products(self._generations[step], items), self._batch_items))


async def _rounds(contenders: Mapping[str, Contender], *, batch_items: int, rounds: int) -> list[Round]:
    generations = _generations(max(contender.items for contender in contenders.values()))
    with temporary_directory("write") as directory:
        async with running_server(directory / "postgres") as server:
            bench = Bench(server, generations, batch_items)
            for contender in contenders.values():
                await bench.compute_expected(contender)
            return [await _round(bench, contenders, number) for number in range(rounds)]


async def _round(bench: Bench, contenders: Mapping[str, Contender], number: int) -> Round:
    names = list(contenders)
    first = number % len(names)
    return {name: await bench.run(name, contenders[name]) for name in names[first:] + names[:first]}


def _generations(items: int) -> dict[str, Sequence[FullProduct]]:
    """Return the products of the shop at each step; changed products are evenly distributed."""
    first = generate(items)
    few = revise(first, range(50, len(first), 100))
    return {
        FIRST_LOAD: first,
        NOTHING_CHANGED: first,
        FEW_CHANGED: few,
        ALL_CHANGED: revise(few, range(len(first))),
    }


def _contenders(args: argparse.Namespace) -> dict[str, Contender]:
    return {
        "ours": Contender(writer=batch_writer, items=args.items, steps=STEPS),
        "raw COPY": Contender(writer=raw_copy, items=args.items, steps=(FIRST_LOAD,)),
        "multi-row": Contender(writer=multi_row, items=args.multi_row_items, steps=STEPS),
        "ORM": Contender(writer=orm, items=args.orm_items, steps=(FIRST_LOAD, NOTHING_CHANGED)),
    }


def _ratios(rounds: Sequence[Round]) -> dict[str, float]:
    def steps(writer: str, step: str) -> list[StepMeasurement]:
        return [one[writer][step] for one in rounds]

    first = steps("ours", FIRST_LOAD)
    return {
        "first_load_over_copy": round(speed_ratio(first, steps("raw COPY", FIRST_LOAD)), 3),
        "first_load_over_multi_row": round(speed_ratio(first, steps("multi-row", FIRST_LOAD)), 1),
        "first_load_over_orm": round(speed_ratio(first, steps("ORM", FIRST_LOAD)), 1),
        "resync_over_first_load": round(speed_ratio(steps("ours", NOTHING_CHANGED), first), 2),
    }


def _targets(rounds: Sequence[Round], ratios: Mapping[str, float]) -> list[Target]:
    ours = [one["ours"] for one in rounds]
    wal = median(one[NOTHING_CHANGED].wal_bytes_per_row / one[FIRST_LOAD].wal_bytes_per_row for one in ours)
    dead = max(one[NOTHING_CHANGED].dead for one in ours)
    over_copy, over_orm, resync = (
        ratios[name] for name in ("first_load_over_copy", "first_load_over_orm", "resync_over_first_load")
    )
    return [
        Target(name="first load / raw COPY", value=over_copy, unit="x", wanted=0.7, at="least"),
        Target(name="first load / ORM", value=over_orm, unit="x", wanted=80, at="least"),
        Target(name="nothing changed / first load", value=resync, unit="x", wanted=3, at="least"),
        Target(name="its WAL / first load's", value=round(wal * 100, 1), unit="%", wanted=10, at="most"),
        Target(name="its dead rows of product and item", value=dead, unit="rows", wanted=0, at="most"),
    ]


def _print_medians(medians: Mapping[str, Mapping[str, StepMedians]], title: str) -> None:
    columns = ("", "rows", "rows/s", "slowest", "late/early", "client", "PostgreSQL", "WAL bytes/row", "dead")
    rows = []
    for name, steps in medians.items():
        for step, one in steps.items():
            rates = (f"{one.rows_per_second:,}", f"{one.slowest_rows_per_second:,}", f"{one.late_over_early:.2f}")
            cpu = (f"{one.client_cpu_us_per_row:,.1f}", f"{one.postgres_cpu_us_per_row:,.1f}")
            costs = (f"{one.wal_bytes_per_row:,.0f}", f"{one.dead_tuples:,}")
            rows.append((f"{name}: {step}", f"{one.rows:,}", *rates, *cpu, *costs))
    print_table(f"{title}; CPU in µs per row", columns, rows)


def _parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.write", description=__doc__)
    parser.add_argument("--items", type=int, default=100_000, help="for ours and raw COPY [%(default)s]")
    parser.add_argument("--multi-row-items", type=int, default=10_000, help="[%(default)s]")
    parser.add_argument("--orm-items", type=int, default=2_000, help="[%(default)s]")
    parser.add_argument(
        "--batch", type=int, default=RunConfig().items_per_transaction, help="items per transaction [%(default)s]"
    )
    parser.add_argument("--rounds", type=int, default=5, help="[%(default)s]")
    parser.add_argument("--smoke", action="store_true", help="small sizes, half a minute")
    args = parser.parse_args()
    if args.smoke:
        args.items, args.multi_row_items, args.orm_items = 20_000, 1_000, 300
    return args


def main() -> None:
    """Print a table of all writers and steps, the targets and the RESULT line."""
    args = _parse_args()
    contenders = _contenders(args)
    rounds = asyncio.run(_rounds(contenders, batch_items=args.batch, rounds=args.rounds))
    medians = {
        name: {step: StepMedians.of([one[name][step] for one in rounds]) for step in contender.steps}
        for name, contender in contenders.items()
    }
    _print_medians(medians, f"Batches of {args.batch:,} items, medians; rounds: {args.rounds}")
    ratios = _ratios(rounds)
    targets = _targets(rounds, ratios)
    print_targets(targets)
    print_result(
        "write",
        {
            "targets": [target.to_json() for target in targets],
            "ratios": ratios,
            "batch_items": args.batch,
            "repetitions": args.rounds,
            "writers": {
                name: {step: asdict(one) for step, one in steps.items()} for name, steps in medians.items()
            },
        },
    )


if __name__ == "__main__":
    main()
