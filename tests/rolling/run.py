"""The experiments: a rolling restart, and an upgrade with its way back, each under load."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from tests.chaos import oracle
from tests.chaos.replicas import connected
from tests.rolling.load import End, Load
from tests.rolling.lock_monitor import LockMonitor, watching_locks
from tests.rolling.release import MigrateProcess, Release
from tests.rolling.system import RollingConfig, RollingSystem, rolling_system
from tests.waiting import until

_ERRORS_IN_LOGS = ("ERROR", "CRITICAL", "Traceback")


@dataclass(kw_only=True)
class Report:
    """What happened, and all violations."""

    ends: Counter[End]
    """How the calls of the clients ended."""
    violations: list[str]
    syncs: int
    """Syncs that succeeded."""
    attempts: int
    """Attempts of all syncs: those above one each continued on another replica."""
    items: int
    """Items in the tables that equal those of the shops."""
    retried_migrations: int = 0
    """How often `migrate` gave a lock up and tried again."""
    lock_samples: int = 0
    longest_lock_waits: dict[str, float] = field(default_factory=dict)
    """Seconds, by kind of lock, as found by the samples."""
    row_waits: list[str] = field(default_factory=list)
    """Waits of more than a second for locks of rows; those for tables are violations."""

    def as_json(self) -> str:
        """Return the report as one line of JSON."""
        ends = {" ".join(filter(None, end)): count for end, count in sorted(self.ends.items())}
        return json.dumps(
            {
                "syncs": self.syncs,
                "attempts": self.attempts,
                "items": self.items,
                "ends": ends,
                "migrate_retries": self.retried_migrations,
                "lock_samples": self.lock_samples,
                "longest_lock_wait_seconds": {kind: round(s, 3) for kind, s in self.longest_lock_waits.items()},
                "row_waits_over_a_second": self.row_waits,
                "violations": self.violations,
            }
        )


async def rolling_restart(directory: Path, config: RollingConfig) -> Report:
    """Replace every process by one of the same release, one after the other, under load."""
    async with rolling_system(directory, config) as system:
        load = Load(system.target, system.store)
        violations = load.observations.violations
        async with load.running():
            await load.wait_for_progress()
            for instance in (*system.catalogs, *system.connectors):
                problem = await system.replace(instance)
                violations += [problem] if problem else []
                await load.wait_for_progress()
        return await _report(system, load)


async def upgrade_and_back(directory: Path, config: RollingConfig, old: Release, new: Release) -> Report:
    """Migrate, replace the replicas of `old` by those of `new`, and these by those of `old` again, under load."""
    async with rolling_system(directory, config, old) as system, watching_locks(system.postgres) as locks:
        load = Load(system.target, system.store)
        violations = load.observations.violations
        async with load.running():
            await load.wait_for_progress()
            retries = await _migrate(system, new, locks)
            await load.wait_for_progress()
            for release in (new, old):
                for instance in system.catalogs:
                    problem = await system.replace(instance, release)
                    violations += [problem] if problem else []
                    await load.wait_for_progress()
        report = await _report(system, load)
        report.retried_migrations = retries
        report.lock_samples, report.longest_lock_waits = locks.samples, locks.longest
        report.row_waits = locks.row_waits
        report.violations += [f"waited for a table: {wait}" for wait in locks.table_waits]
    return report


async def table_waits_of_migrations(
    directory: Path, config: RollingConfig, releases: Sequence[Release]
) -> list[int]:
    """Return how many waits for tables of more than a second the migration to each release causes, under load."""
    async with rolling_system(directory, config) as system, watching_locks(system.postgres) as locks:
        load = Load(system.target, system.store)
        counts: list[int] = []
        async with load.running():
            await load.wait_for_progress()
            for release in releases:
                await _migrate(system, release, locks)
                counts.append(len(locks.table_waits) - sum(counts))
    return counts


async def _migrate(system: RollingSystem, release: Release, locks: LockMonitor) -> int:
    """Migrate while a long transaction reads a table.

    The transaction ends once `migrate` was rolled back twice because of it, or a session has waited for too long.

    Returns:
        How often it was rolled back.
    """
    migration = MigrateProcess(release, system.postgres, system.directory / f"migrate-{release.head}.log")
    waits = len(locks.table_waits)
    try:
        async with connected(system.postgres) as reader, reading(reader):
            await migration.start()
            await until(
                lambda: migration.retries >= 2 or migration.ended or len(locks.table_waits) > waits, seconds=180
            )
        async with asyncio.timeout(180):
            await migration.wait()
        return migration.retries
    finally:
        await migration.kill()


@asynccontextmanager
async def reading(reader: asyncpg.Connection) -> AsyncIterator[None]:
    """Read the items in a transaction that stays open, as a report or a dump does."""
    async with reader.transaction():
        await reader.execute("SELECT count(*) FROM item")
        yield


async def _report(system: RollingSystem, load: Load) -> Report:
    observations, violations = load.observations, load.observations.violations
    items = 0
    async with connected(system.postgres) as connection:
        violations += await oracle.counter_violations(connection)
        for domain, shop in system.store.shops.items():
            differences = await oracle.compare_with_shop(connection, shop.catalog)
            items += differences.pop("items_correct")
            if differences.total():
                violations.append(f"{domain} differs from its shop: {dict(differences)}")
        attempts = await connection.fetchval(
            "SELECT sum(attempt_count) FROM (SELECT * FROM sync UNION ALL SELECT * FROM sync_history) AS every"
        )
    for instance in (*system.catalogs, *system.connectors):
        violations += instance.violations
        violations += [f"{instance.name}: {line}" for line in _errors(instance.log)]
    return Report(
        ends=observations.ends, violations=violations, syncs=observations.syncs, attempts=attempts, items=items
    )


def _errors(log: Path) -> list[str]:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return [line for line in lines if any(word in line for word in _ERRORS_IN_LOGS)][:10]
