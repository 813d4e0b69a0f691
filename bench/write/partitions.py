"""`python -m bench.write.partitions`: one table for all shops, or 16 partitions by the hash of the shop.

The figures behind decision 38. On one embedded PostgreSQL our batch writer stores the same products of several
shops in two databases: one with our tables as they are, one whose `product`, `item` and `sync_seen` are
hash-partitioned by shop. The two take turns, and a ratio compares the two sides of one round. Then both are filled
with many shops, where the size of the indexes, VACUUM, ANALYZE and the steps of further shops are measured.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import asdict, dataclass
from typing import Final

from bench.common.measure import BenchFailed
from bench.common.report import print_result, print_table
from bench.common.stack import temporary_directory
from bench.write.catalog import batches, generate, revise
from bench.write.database import TEMPLATE, Database, Server, running_server
from bench.write.measure import Prepare, StepMeasurement, StepMedians, measure_step, speed_ratio
from bench.write.writers import batch_writer_of_shops
from catalog_svc.domain.shop import ShopKey
from catalog_svc.storage import tables
from catalog_svc.usecases.sync_limits import RunConfig

STEPS: Final = ("first load", "nothing changed", "1 % changed", "100 % changed")
_PARTITIONED: Final = "bench_partitioned"
LAYOUTS: Final = {"one table": TEMPLATE, "partitions": _PARTITIONED}
"""Template database by layout."""
_STORAGE: Final = {
    "product": "fillfactor = 90, autovacuum_enabled = off",
    "item": "fillfactor = 90, autovacuum_enabled = off",
    "sync_seen": "autovacuum_enabled = on",
}
_CHANGED_SHOPS: Final = 20
"""One of so many shops changes all of its items before the vacuum."""
_LARGE_SHOP_ITEMS: Final = 10_000
_FURTHER_SHOPS_PER_ROUND: Final = 4

Round = dict[str, dict[str, StepMeasurement]]
"""By layout and step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LargeTable:
    """What a filled `item` table costs."""

    rows: int
    index_mb: float
    largest_index_mb: float
    """Of one table or partition."""
    vacuum_seconds: float
    """After all items of some shops were updated."""
    longest_vacuum_seconds: float
    """Of one table or partition."""
    analyze_seconds: float


def partition_statements(count: int) -> list[str]:
    """Return the statements that replace the empty tables of a shop's rows by hash-partitioned ones."""
    statements = []
    for table, storage in _STORAGE.items():
        statements += [
            f"ALTER TABLE {table} RENAME TO {table}_plain",
            f"CREATE TABLE {table} (LIKE {table}_plain INCLUDING ALL) PARTITION BY HASH (shop_id)",
            f"DROP TABLE {table}_plain",
            *(
                f"CREATE TABLE {table}_{number} PARTITION OF {table}"
                f" FOR VALUES WITH (MODULUS {count}, REMAINDER {number}) WITH ({storage})"
                for number in range(count)
            ),
        ]
    return statements


class Comparison:
    """Runs the same steps in both layouts.

    Args:
        server: A server with the template of each layout.
        shops: How many shops are written, in turn.
        items: Items of each.
    """

    def __init__(self, server: Server, *, shops: int, items: int) -> None:
        self._server = server
        self._shops = [ShopKey("shopify", f"bench-{number}.myshopify.com") for number in range(shops)]
        first = generate(items)
        few = revise(first, range(50, len(first), 100))
        generations = (first, first, few, revise(few, range(len(first))))
        size = RunConfig().items_per_transaction
        self._steps = {
            step: [batch for batch in batches(generation, size) for _ in self._shops]
            for step, generation in zip(STEPS, generations, strict=True)
        }

    async def run(self, layout: str) -> tuple[dict[str, StepMeasurement], str]:
        """Measure all steps in a fresh database; return them and the content of the tables at the end."""
        async with self._server.database(LAYOUTS[layout]) as database:
            steps = {
                step: await measure_step(database, self._writer, batches) for step, batches in self._steps.items()
            }
            return steps, str(await database.fingerprint())

    async def round(self, number: int) -> Round:
        """Measure both layouts, in alternating order. Raise BenchFailed unless both store the same rows."""
        layouts = list(LAYOUTS) if number % 2 == 0 else list(reversed(LAYOUTS))
        results = {layout: await self.run(layout) for layout in layouts}
        if len({content for _, content in results.values()}) != 1:
            raise BenchFailed("the layouts hold different rows")
        return {layout: results[layout][0] for layout in LAYOUTS}

    def _writer(self, database: Database) -> AbstractAsyncContextManager[Prepare]:
        return batch_writer_of_shops(database, self._shops)

    async def fill(self, database: Database, *, shops: int) -> None:
        """Store the first shop and copy it until there are `shops`."""
        await measure_step(database, self._writer, self._steps[STEPS[0]])
        await _copy_shops(database, shops - len(self._shops))
        await database.execute("VACUUM (ANALYZE) item, product")

    async def steps_of_further_shops(self, database: Database, number: int) -> dict[str, StepMeasurement]:
        """Measure all steps of more shops."""
        shops = [
            ShopKey("shopify", f"further-{number}-{shop}.myshopify.com")
            for shop in range(_FURTHER_SHOPS_PER_ROUND)
        ]

        def writer(database: Database) -> AbstractAsyncContextManager[Prepare]:
            return batch_writer_of_shops(database, shops)

        return {
            step: await measure_step(database, writer, [batch for batch in batches for _ in shops])
            for step, batches in self._steps.items()
        }


async def _measure_maintenance(database: Database) -> LargeTable:
    """Measure the indexes of `item`, and VACUUM after all items of some shops were updated."""
    await database.execute("VACUUM (ANALYZE) item, product")
    await database.execute(
        f"UPDATE item SET stock_quantity = 1 WHERE abs(hashtext(shop_id::text)) % {_CHANGED_SHOPS} = 0"
    )
    vacuums = [await _seconds(database, f"VACUUM {name}") for name in await _leaves(database)]
    sizes = await database.fetch_one(_INDEX_SIZES)
    return LargeTable(
        rows=(await database.fetch_one("SELECT count(*) AS rows FROM item")).rows,
        index_mb=round(sizes.total / 1e6, 1),
        largest_index_mb=round(sizes.largest / 1e6, 1),
        vacuum_seconds=round(sum(vacuums), 2),
        longest_vacuum_seconds=round(max(vacuums), 2),
        analyze_seconds=round(await _seconds(database, "ANALYZE item, product"), 2),
    )


_INDEX_SIZES: Final = """
    SELECT sum(pg_relation_size(indexrelid))::bigint AS total, max(pg_relation_size(indexrelid)) AS largest
    FROM pg_index JOIN pg_class AS leaf ON leaf.oid = indrelid
    WHERE leaf.relkind = 'r' AND leaf.relname ~ '^item(_[0-9]+)?$'"""


async def _leaves(database: Database) -> list[str]:
    row = await database.fetch_one("""
        SELECT array_agg(relname::text ORDER BY oid) AS names FROM pg_class
        WHERE relkind = 'r' AND relname ~ '^item(_[0-9]+)?$'""")
    return list(row.names)


async def _copy_shops(database: Database, count: int) -> None:
    """Copy the products and items of one shop to `count` new shops."""
    await database.execute("CREATE TABLE one_shop AS SELECT shop_id FROM shop LIMIT 1")
    await database.execute(
        f"CREATE TABLE new_shop AS SELECT gen_random_uuid() AS shop_id FROM generate_series(1, {count})"
    )
    for table in (tables.product, tables.item):
        columns = ", ".join(column.name for column in table.columns if column.name != "shop_id")
        await database.execute(f"""
            INSERT INTO {table.name} (shop_id, {columns})
            SELECT new_shop.shop_id, {columns} FROM new_shop CROSS JOIN {table.name} AS source
            WHERE source.shop_id = (SELECT shop_id FROM one_shop)""")


async def _seconds(database: Database, statement: str) -> float:
    begin = time.perf_counter()
    await database.execute(statement)
    return time.perf_counter() - begin


async def _measure(args: argparse.Namespace) -> tuple[list[Round], dict[str, LargeTable], list[Round]]:
    with temporary_directory("partitions") as directory:
        async with running_server(directory / "postgres") as server:
            await server.add_template(_PARTITIONED, partition_statements(args.partitions))
            comparison = Comparison(server, shops=args.shops, items=args.items)
            rounds = [await comparison.round(number) for number in range(args.empty_rounds)]
            return rounds, *await _measure_large(server, args)


async def _measure_large(server: Server, args: argparse.Namespace) -> tuple[dict[str, LargeTable], list[Round]]:
    """Fill a database of each layout, then store further shops in both, in alternating order."""
    shop = Comparison(server, shops=1, items=_LARGE_SHOP_ITEMS)
    async with AsyncExitStack() as stack:
        databases = {name: await stack.enter_async_context(server.database(LAYOUTS[name])) for name in LAYOUTS}
        for database in databases.values():
            await shop.fill(database, shops=args.large_items // _LARGE_SHOP_ITEMS)
        rounds = []
        for number in range(args.rounds):
            names = list(LAYOUTS) if number % 2 == 0 else list(reversed(LAYOUTS))
            rounds.append({name: await shop.steps_of_further_shops(databases[name], number) for name in names})
        return {name: await _measure_maintenance(database) for name, database in databases.items()}, rounds


def _speed_ratios(rounds: Sequence[Round]) -> dict[str, float]:
    def steps(layout: str, step: str) -> list[StepMeasurement]:
        return [one[layout][step] for one in rounds]

    return {step: round(speed_ratio(steps("partitions", step), steps("one table", step)), 3) for step in STEPS}


def _cpu_ratios(rounds: Sequence[Round]) -> dict[str, float]:
    """Return the CPU seconds of PostgreSQL of all rounds, partitions / one table."""

    def seconds(layout: str, step: str) -> float:
        return sum(one[layout][step].postgres_cpu for one in rounds)

    return {step: round(seconds("partitions", step) / seconds("one table", step), 3) for step in STEPS}


def _print_rounds(title: str, rounds: Sequence[Round]) -> None:
    rows = []
    for step in STEPS:
        for layout in LAYOUTS:
            one = StepMedians.of([each[layout][step] for each in rounds])
            cpu = (f"{one.client_cpu_us_per_row:,.1f}", f"{one.postgres_cpu_us_per_row:,.1f}")
            wal = f"{one.wal_bytes_per_row:,.0f}"
            rows.append((f"{step}: {layout}", f"{one.rows:,}", f"{one.rows_per_second:,}", *cpu, wal))
    columns = ("", "rows", "rows/s", "client", "PostgreSQL", "WAL bytes/row")
    print_table(f"{title}: medians, CPU in µs per row", columns, rows)
    cpu_ratios = _cpu_ratios(rounds)
    ratios = [(step, f"{ratio:.3f}", f"{cpu_ratios[step]:.3f}") for step, ratio in _speed_ratios(rounds).items()]
    print_table("partitions / one table", ("", "speed", "CPU of PostgreSQL"), ratios)


def main() -> None:
    """Print the figures of both layouts and their ratios."""
    parser = argparse.ArgumentParser(prog="python -m bench.write.partitions", description=__doc__)
    parser.add_argument("--shops", type=int, default=20, help="[%(default)s]")
    parser.add_argument("--items", type=int, default=5_000, help="of each shop [%(default)s]")
    parser.add_argument("--partitions", type=int, default=16, help="[%(default)s]")
    parser.add_argument("--rounds", type=int, default=6, help="in a filled database [%(default)s]")
    parser.add_argument(
        "--large-items", type=int, default=2_000_000, help="rows of the filled table [%(default)s]"
    )
    parser.add_argument("--empty-rounds", type=int, default=2, help="in an empty database [%(default)s]")
    args = parser.parse_args()
    rounds, large, large_rounds = asyncio.run(_measure(args))
    _print_rounds("Empty database", rounds)
    figures = {layout: asdict(one) for layout, one in large.items()}
    rows = [(name, *(f"{one[name]:,}" for one in figures.values())) for name in figures["one table"]]
    print_table("The table item, filled", ("", *figures), rows)
    _print_rounds("Further shops in the filled database", large_rounds)
    print_result(
        "partitions",
        {
            "targets": [],
            "ratios": _speed_ratios(rounds),
            "postgres_cpu_ratios": _cpu_ratios(rounds),
            "further_shop_ratios": _speed_ratios(large_rounds),
            "further_shop_postgres_cpu_ratios": _cpu_ratios(large_rounds),
            "rounds": args.rounds,
            "large": figures,
        },
    )


if __name__ == "__main__":
    main()
