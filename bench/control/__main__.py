"""`make bench-control`: what the control plane takes with 100,000 shops.

On one embedded PostgreSQL with 100,000 registered shops, 20,000 pending syncs, 800 running ones and 20,000 broken
shops, our stores claim syncs, look for due shops, start scheduled syncs, purge old rows and poll watched syncs.
Then one catalog_svc process on the same database answers StartSync of 200 shops at once, and GetStatus.

Ratios compare with the statements of the design before decision 36, over the same rows in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import asyncpg
from sqlalchemy.engine import make_url

from bench.common import machine
from bench.common.cluster import migrate_database
from bench.common.report import Target, print_result, print_table, print_targets
from bench.common.stack import temporary_directory
from bench.control.calls import CallFigures, measure_calls
from bench.control.queue import QueueFigures, measure_queue
from bench.control.retention import RetentionFigures, measure_retention
from bench.control.rows import FULL, SMOKE, Size, insert_rows
from bench.control.timing import Durations
from bench.control.watch import WatchFigures, measure_watch
from catalog_svc.storage.database import Database
from catalog_svc.storage.embedded import embedded_postgres, service_url
from catalog_svc.storage.engine import open_engine


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """All figures of a run."""

    queue: QueueFigures
    watch: WatchFigures
    retention: RetentionFigures
    calls: CallFigures

    @property
    def durations(self) -> Mapping[str, Durations]:
        """Percentiles by name of the call."""
        queue, watch, calls = self.queue, self.watch, self.calls
        return {
            "one claim": queue.one_claim,
            "16 claims at once": queue.many_claims,
            "one claim, two platforms excluded": queue.claim_without_platforms,
            "before: a claim's search": queue.sorted_claim,
            "due query, nothing due": queue.nothing_due,
            "due query, many due": queue.some_due,
            "before: due query, nothing due": queue.due_by_last_sync,
            f"poll of {watch.watched:,} watched syncs, {watch.changed} changed": watch.poll,
            "before: poll": watch.all_columns_poll,
            f"StartSync of {calls.registered.count} registered shops at once": calls.registered,
            f"StartSync of {calls.new.count} new shops at once": calls.new,
            "GetStatus": calls.status,
        }

    @property
    def ratios(self) -> dict[str, float]:
        """How many times faster than before."""
        queue, watch, retention = self.queue, self.watch, self.retention
        return {
            "claim_over_sorting": round(queue.sorted_claim.p50_ms / queue.one_claim.p50_ms, 1),
            "due_over_last_syncs": round(queue.due_by_last_sync.p50_ms / queue.nothing_due.p50_ms, 1),
            "poll_over_all_columns": round(watch.all_columns_poll.p50_ms / watch.poll.p50_ms, 1),
            "retention_over_shop_by_shop": round(retention.shop_by_shop_seconds / retention.nothing_seconds, 1),
        }

    @property
    def targets(self) -> list[Target]:
        """The targets of the control plane."""
        queue, watch, retention, calls = self.queue, self.watch, self.retention, self.calls
        excluded = queue.claim_without_platforms
        return [
            _at_most("one claim, p99", queue.one_claim.p99_ms, 5, "ms"),
            _at_most("one claim beside full platforms, p99", excluded.p99_ms, 5, "ms"),
            _at_most("due query, nothing due, p99", queue.nothing_due.p99_ms, 10, "ms"),
            _at_most("due query, many due, p99", queue.some_due.p99_ms, 10, "ms"),
            Target(
                name="scheduled starts of one replica",
                value=queue.starts_per_second,
                unit="/s",
                wanted=200,
                at="least",
            ),
            _at_most("retention round, nothing to do", retention.nothing_seconds, 60, "s"),
            _at_most("its statements on another replica", retention.other_replica_statements, 1, ""),
            _at_most("watch poll, p95", watch.poll.p95_ms, 50, "ms"),
            _at_most("event loop stall of polls", watch.longest_stall_ms, 250, "ms"),
            _at_most("StartSync of 200 registered shops at once, p95", calls.registered.p95_ms, 1_000, "ms"),
            _at_most("StartSync of 200 new shops at once, p95", calls.new.p95_ms, 1_000, "ms"),
        ]


def _at_most(name: str, value: float, wanted: float, unit: str) -> Target:
    return Target(name=name, value=value, unit=unit, wanted=wanted, at="most")


async def _measure(size: Size) -> Figures:
    with temporary_directory("control") as directory:
        async with embedded_postgres(directory / "services" / "postgres") as url:
            await migrate_database(url)
            connection = await asyncpg.connect(_plain(url))
            try:
                await insert_rows(connection, size)
                machine.settle()
                _tune_gc()
                await connection.execute("CHECKPOINT")
                return await _measure_all(directory / "services", url, connection, size)
            finally:
                await connection.close()


def _tune_gc() -> None:
    """Collect garbage as the services do."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


async def _measure_all(directory: Path, url: str, connection: asyncpg.Connection, size: Size) -> Figures:
    engine, owner = open_engine(service_url(url)), open_engine(url, pool_size=1)
    try:
        database = Database(engine)
        queue = await measure_queue(database, connection, size, owner=Database(owner))
        watch = await measure_watch(database, connection, size)
        retention = await measure_retention(database, engine, connection, size)
    finally:
        await engine.dispose()
        await owner.dispose()
    calls = await measure_calls(directory, url, connection, size)
    return Figures(queue=queue, watch=watch, retention=retention, calls=calls)


def _plain(database_url: str) -> str:
    return make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)


def _print_figures(figures: Figures) -> None:
    rows = [
        (name, f"{one.count:,}", *(f"{value:,.2f}" for value in (one.p50_ms, one.p95_ms, one.p99_ms, one.max_ms)))
        for name, one in figures.durations.items()
    ]
    print_table("Milliseconds", ("", "calls", "p50", "p95", "p99", "max"), rows)
    retention, watch = figures.retention, figures.watch
    print_table(
        "Other figures",
        ("", ""),
        [
            ("scheduled starts per second", f"{figures.queue.starts_per_second:,.0f}"),
            ("retention round, nothing to do, s", f"{retention.nothing_seconds:,.3f}"),
            ("  its statements", f"{retention.nothing_statements}"),
            ("  statements of another replica", f"{retention.other_replica_statements}"),
            ("  before, by a sample of shops, s", f"{retention.shop_by_shop_seconds:,.1f}"),
            ("retention round with work, s", f"{retention.work_seconds:,.1f}"),
            ("  rows deleted", f"{retention.deleted_rows:,}"),
            ("longest event loop stall of polls, ms", f"{watch.longest_stall_ms:,.1f}"),
            ("first poll, which reads all watched syncs, s", f"{watch.first_poll_seconds:,.3f}"),
            ("  its longest stall, ms", f"{watch.first_stall_ms:,.1f}"),
            ("longest health check during the starts, ms", f"{figures.calls.longest_health_check_ms:,.1f}"),
            *((f"ratio: {name}", f"{ratio:,}") for name, ratio in figures.ratios.items()),
        ],
    )


def main() -> None:
    """Print all figures, the targets and the RESULT line."""
    parser = argparse.ArgumentParser(prog="python -m bench.control", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a twentieth of the shops")
    args = parser.parse_args()
    size = SMOKE if args.smoke else FULL
    figures = asyncio.run(_measure(size))
    _print_figures(figures)
    print_targets(figures.targets)
    print_result(
        "control",
        {
            "targets": [target.to_json() for target in figures.targets],
            "ratios": figures.ratios,
            "size": asdict(size),
            "figures": asdict(figures),
        },
    )


if __name__ == "__main__":
    main()
