"""`make bench-write`: our batch writer beside what others do, and beside the limit.

On one embedded PostgreSQL with our schema and all its indexes, batches of the same decoded rows are stored by

- ours: `BatchStore.apply`, the whole transaction of a batch with fence, comparison, seen ids and progress;
- multi-row: SQLAlchemy's `insert().values([...]).on_conflict_do_update`;
- ORM: get, then add or change, a commit for each item, as the old system did;
- raw COPY straight into the two tables, which can do nothing but a first load: the limit.

Decoding is not part of it: every writer gets its input in the form that it takes. Each round gives each writer a
fresh database, in another order; every step begins after a checkpoint. After every step the rows must be those
that raw COPY leaves of the same generation. The slow ones get less: their rate does not depend on the size.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Final

from bench.common import report
from bench.common.measure import BenchFailed
from bench.common.report import Target, show_targets
from bench.common.stack import workplace
from bench.write.catalog import FullProduct, batches, beginning, generated, revised
from bench.write.database import Fingerprint, Server, running_server
from bench.write.measure import Step, StepMedians, Writer, measured_step, middle, ratio
from bench.write.writers import batch_store, multi_row, orm, raw_copy
from catalog_svc.usecases.retry_policy import RunConfig

FIRST: Final = "first load"
AGAIN: Final = "nothing changed"
FEW: Final = "1 % changed"
ALL: Final = "100 % changed"
STEPS: Final = (FIRST, AGAIN, FEW, ALL)

Round = dict[str, dict[str, Step]]
"""By writer and step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Contender:
    """A writer, and what of the work it gets."""

    writer: Writer
    items: int
    steps: tuple[str, ...]


class Bench:
    """Runs contenders on one server."""

    def __init__(self, server: Server, generations: Mapping[str, Sequence[FullProduct]], batch_items: int) -> None:
        self._server = server
        self._generations = generations
        self._batch_items = batch_items
        self._expected: dict[tuple[str, int], Fingerprint] = {}

    async def expect(self, contender: Contender) -> None:
        """Learns what must be stored after each of its steps."""
        for step in contender.steps:
            if (step, contender.items) not in self._expected:
                async with self._server.database() as database:
                    await measured_step(database, raw_copy, self._batches(step, contender.items))
                    self._expected[step, contender.items] = await database.fingerprint()

    async def run(self, name: str, contender: Contender) -> dict[str, Step]:
        """All its steps on a fresh database. Raises BenchFailed unless each left the right rows."""
        done = {}
        async with self._server.database() as database:
            for step in contender.steps:
                done[step] = await measured_step(database, contender.writer, self._batches(step, contender.items))
                found, wanted = await database.fingerprint(), self._expected[step, contender.items]
                if found != wanted:
                    raise BenchFailed(f"{name}, {step}: the rows are {found}, not {wanted}")
        return done

    def _batches(self, step: str, items: int) -> list[Sequence[FullProduct]]:
        return list(batches(beginning(self._generations[step], items), self._batch_items))


async def _rounds(contenders: Mapping[str, Contender], *, batch_items: int, rounds: int) -> list[Round]:
    generations = _generations(max(contender.items for contender in contenders.values()))
    with workplace("write") as place:
        async with running_server(place / "postgres") as server:
            bench = Bench(server, generations, batch_items)
            for contender in contenders.values():
                await bench.expect(contender)
            return [await _round(bench, contenders, number) for number in range(rounds)]


async def _round(bench: Bench, contenders: Mapping[str, Contender], number: int) -> Round:
    names = list(contenders)
    turn = number % len(names)
    return {name: await bench.run(name, contenders[name]) for name in names[turn:] + names[:turn]}


def _generations(items: int) -> dict[str, Sequence[FullProduct]]:
    """What the shop has at each step; changed products are spread evenly."""
    first = generated(items)
    few = revised(first, range(50, len(first), 100))
    return {FIRST: first, AGAIN: first, FEW: few, ALL: revised(few, range(len(first)))}


def _contenders(asked: argparse.Namespace) -> dict[str, Contender]:
    return {
        "ours": Contender(writer=batch_store, items=asked.items, steps=STEPS),
        "raw COPY": Contender(writer=raw_copy, items=asked.items, steps=(FIRST,)),
        "multi-row": Contender(writer=multi_row, items=asked.multi_row_items, steps=STEPS),
        "ORM": Contender(writer=orm, items=asked.orm_items, steps=(FIRST, AGAIN)),
    }


def _ratios(rounds: Sequence[Round]) -> dict[str, float]:
    def speed(step: Step) -> float:
        return step.rows_per_second

    first = [one["ours"][FIRST] for one in rounds]
    again = [one["ours"][AGAIN] for one in rounds]
    beside = {name: [one[name][FIRST] for one in rounds] for name in ("raw COPY", "multi-row", "ORM")}
    return {
        "first_load_over_copy": round(ratio(first, beside["raw COPY"], speed), 3),
        "first_load_over_multi_row": round(ratio(first, beside["multi-row"], speed), 1),
        "first_load_over_orm": round(ratio(first, beside["ORM"], speed), 1),
        "resync_over_first_load": round(ratio(again, first, speed), 2),
    }


def _targets(rounds: Sequence[Round], ratios: Mapping[str, float]) -> list[Target]:
    wal = median(one["ours"][AGAIN].wal_per_row / one["ours"][FIRST].wal_per_row for one in rounds)
    dead = max(one["ours"][AGAIN].dead for one in rounds)
    copy, by_orm, again = (
        ratios[name] for name in ("first_load_over_copy", "first_load_over_orm", "resync_over_first_load")
    )
    return [
        Target(name="first load / raw COPY", value=copy, unit="x", wanted=0.7, at="least"),
        Target(name="first load / ORM", value=by_orm, unit="x", wanted=80, at="least"),
        Target(name="nothing changed / first load", value=again, unit="x", wanted=3, at="least"),
        Target(name="its WAL / first load's", value=round(wal * 100, 1), unit="%", wanted=10, at="most"),
        Target(name="its dead rows of product and item", value=dead, unit="rows", wanted=0, at="most"),
    ]


def _show(found: Mapping[str, Mapping[str, StepMedians]], title: str) -> None:
    columns = ("", "rows", "rows/s", "slowest", "late/early", "client", "PostgreSQL", "WAL bytes/row", "dead")
    rows = []
    for name, steps in found.items():
        for step, one in steps.items():
            rates = (f"{one.rows_per_second:,}", f"{one.slowest_rows_per_second:,}", f"{one.late_over_early:.2f}")
            cpu = (f"{one.client_cpu_us_per_row:,.1f}", f"{one.postgres_cpu_us_per_row:,.1f}")
            costs = (f"{one.wal_bytes_per_row:,.0f}", f"{one.dead_tuples:,}")
            rows.append((f"{name}: {step}", f"{one.rows:,}", *rates, *cpu, *costs))
    report.show(f"{title}; CPU in µs per row", columns, rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.write", description=__doc__)
    parser.add_argument("--items", type=int, default=100_000, help="for ours and raw COPY [%(default)s]")
    parser.add_argument("--multi-row-items", type=int, default=10_000, help="[%(default)s]")
    parser.add_argument("--orm-items", type=int, default=2_000, help="[%(default)s]")
    parser.add_argument(
        "--batch", type=int, default=RunConfig().items_per_transaction, help="items per transaction [%(default)s]"
    )
    parser.add_argument("--rounds", type=int, default=5, help="[%(default)s]")
    parser.add_argument("--smoke", action="store_true", help="small sizes, half a minute")
    asked = parser.parse_args()
    if asked.smoke:
        asked.items, asked.multi_row_items, asked.orm_items = 20_000, 1_000, 300
    return asked


def main() -> None:
    """Prints a table of all writers and steps."""
    asked = _options()
    contenders = _contenders(asked)
    rounds = asyncio.run(_rounds(contenders, batch_items=asked.batch, rounds=asked.rounds))
    found = {
        name: {step: middle([one[name][step] for one in rounds]) for step in contender.steps}
        for name, contender in contenders.items()
    }
    _show(found, f"Batches of {asked.batch:,} items, medians; rounds: {asked.rounds}")
    ratios = _ratios(rounds)
    targets = _targets(rounds, ratios)
    show_targets(targets)
    writers = {name: {step: asdict(one) for step, one in steps.items()} for name, steps in found.items()}
    told = {"targets": [target.told() for target in targets], "ratios": ratios}
    report.result("write", {**told, "batch_items": asked.batch, "repetitions": asked.rounds, "writers": writers})


if __name__ == "__main__":
    main()
