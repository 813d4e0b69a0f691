"""One chaos run: faults and syncs at the same time, then a check of the tables, the journal and the clients."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from uuid import UUID

import asyncpg
from catalogsync.catalog.v1 import catalog_service_pb2 as pb

from devstore.churn import CatalogMutator
from tests.chaos import journal, oracle, timings
from tests.chaos.nemesis import ALL_FAULTS, ZOMBIE_FAULTS, FaultLimits, Nemesis
from tests.chaos.system import ChaosSystem, SystemConfig, running_system
from tests.chaos.workload import Clients, Observations, ShopDriver

_SETTLE_TIMEOUT_SECONDS = 150.0
"""For the syncs to end after the last fault."""
_EXPECTED_REASONS = frozenset({"CANCELLED", "MASS_DELETE_BLOCKED", "SOURCE_COUNT_MISMATCH"})
"""Reasons for which a sync may fail while the catalogs change and syncs are cancelled."""


@dataclass(kw_only=True)
class Report:
    """What happened, and all violations. Durations are in seconds."""

    seed: int
    fenced: bool
    seconds: float
    counts: Counter[str] = field(default_factory=Counter)
    failed_syncs: Counter[str] = field(default_factory=Counter)
    takeovers: list[float] = field(default_factory=list)
    takeovers_with_database: list[float] = field(default_factory=list)
    """Those during which the database was reachable."""
    handovers: list[float] = field(default_factory=list)
    """From SIGTERM to the next claim, while the database was reachable."""
    database_recoveries: list[float] = field(default_factory=list)
    """From the moment PostgreSQL accepted connections again to the next stored batch."""
    snapshot_ages: list[float] = field(default_factory=list)
    """From a transaction to the arrival of its snapshot at a watcher."""
    truth: Counter[str] = field(default_factory=Counter)
    """Differences between the tables and the shops."""
    violations: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Slow takeovers that an unreachable database may explain."""

    def as_json(self) -> str:
        """Return the report as one line of JSON."""
        return json.dumps(
            {
                "seed": self.seed,
                "fenced": self.fenced,
                "seconds": self.seconds,
                **dict(sorted(self.counts.items())),
                "failed_syncs": dict(self.failed_syncs),
                "takeovers": timings.summary(self.takeovers),
                "takeovers_with_database": timings.summary(self.takeovers_with_database),
                "handovers": timings.summary(self.handovers),
                "writing_after_database_return": timings.summary(self.database_recoveries),
                "snapshot_age": timings.summary(self.snapshot_ages),
                "truth": {name: self.truth[name] for name in oracle.COMPARISON_COUNTS},
                "violations": len(self.violations),
            }
        )

    def summary_line(self) -> str:
        """Return the most important counts as one line of text."""
        takeovers, counts = timings.summary(self.takeovers), self.counts
        kills = counts["kill"] + counts["connector_kill"]
        return (
            f"chaos: {kills} kills, {counts['stop']} stops, {counts['pg_crash']} PostgreSQL crashes, "
            f"{counts['connection_faults']} connection faults; {counts['syncs']} syncs, "
            f"{counts['batches']} batches, "
            f"{takeovers['count']} takeovers (p50 {takeovers['p50']} s, p99 {takeovers['p99']} s); "
            f"{len(self.violations)} violations"
        )


async def run_chaos(
    directory: Path, *, seconds: float, seed: int, fenced: bool = True, config: SystemConfig | None = None
) -> Report:
    """Inject faults, let the syncs end, and check everything.

    Args:
        directory: For all files of the system.
        seconds: How long faults are injected.
        seed: Of all random choices.
        fenced: False: without the fence of the batches, as a negative control.
        config: Of the system; replaces `fenced`.
    """
    config = config or SystemConfig(fenced=fenced)
    report = Report(seed=seed, fenced=config.fenced, seconds=seconds)
    async with running_system(directory, config, Random(seed)) as system:
        run = _Run(system, report, seed, FaultLimits(lease_ttl_seconds=config.lease_ttl_seconds))
        try:
            await run.inject_faults(seconds, ALL_FAULTS if config.fenced else ZOMBIE_FAULTS)
            settled = await run.settle()
            await run.check(compare_tables=settled)
        finally:
            await run.cancel_drivers()
    return report


class _Run:
    """The nemesis, the load and the checks of one run."""

    def __init__(self, system: ChaosSystem, report: Report, seed: int, limits: FaultLimits) -> None:
        self._system = system
        self._report = report
        self._observations = Observations()
        self._limits = limits
        self._nemesis = Nemesis(
            catalogs=system.catalogs,
            connectors=system.connectors,
            postgres=system.postgres,
            proxies=system.proxies,
            random=Random(seed + 1),
            limits=limits,
        )
        shops = system.store.shops
        self._mutator = CatalogMutator([shop.catalog for shop in shops.values()], Random(seed + 2))
        clients = Clients(system.stubs, self._observations, Random(seed + 3))
        self._drivers = [
            ShopDriver(
                pb.ShopRef(platform=shop.spec.platform.value, domain=domain),
                clients,
                self._observations,
                Random(seed + 4 + n),
            )
            for n, (domain, shop) in enumerate(shops.items())
        ]
        self._driver_tasks: list[asyncio.Task[None]] = []

    async def inject_faults(self, seconds: float, weights: dict[str, int]) -> None:
        """Inject faults while the catalogs change and are synced; then stop the faults and the changes."""
        self._driver_tasks = [asyncio.create_task(driver.run()) for driver in self._drivers]
        mutating = asyncio.create_task(self._mutator.run(0.05))
        try:
            await self._nemesis.run(seconds, weights)
        finally:
            self._mutator.stop()
            await mutating

    async def settle(self) -> bool:
        """Let the syncs end and run a last full sync of each shop.

        Returns:
            False if they did not end in time.
        """
        for driver in self._drivers:
            driver.stop()
        try:
            async with asyncio.timeout(_SETTLE_TIMEOUT_SECONDS):
                await asyncio.gather(*self._driver_tasks)
                self._report.failed_syncs = Counter(self._observations.failed_syncs)
                last_syncs = await asyncio.gather(
                    *(driver.run_sync(pb.Sync.MODE_FULL) for driver in self._drivers)
                )
        except TimeoutError:
            self._report.violations.append(
                f"syncs had not ended {_SETTLE_TIMEOUT_SECONDS:.0f} s after the last fault"
            )
            return False
        self._report.violations += [
            f"the last sync of {sync.shop.domain} ended {pb.Sync.State.Name(sync.state)}: {sync.error.message}"
            for sync in last_syncs
            if sync.state != pb.Sync.STATE_SUCCEEDED
        ]
        return True

    async def cancel_drivers(self) -> None:
        """Cancel the drivers that still run when a run is interrupted."""
        for task in self._driver_tasks:
            task.cancel()
        await asyncio.gather(*self._driver_tasks, return_exceptions=True)

    async def check(self, *, compare_tables: bool) -> None:
        """Fill the report."""
        report, system = self._report, self._system
        connection = await system.postgres.connect()
        try:
            histories = await journal.read(connection)
            report.violations += journal.violations(histories, system.connections)
            report.violations += await oracle.sync_violations(connection, histories)
            report.violations += await oracle.counter_violations(connection)
            if compare_tables:
                await self._compare_tables(connection)
        finally:
            await connection.close()
        report.violations += self._observations.violations
        report.violations += [
            violation for instance in (*system.catalogs, *system.connectors) for violation in instance.violations
        ]
        report.violations += [
            f"{count} syncs failed: {reason}"
            for reason, count in report.failed_syncs.items()
            if reason not in _EXPECTED_REASONS
        ]
        report.counts += self._nemesis.counts + self._observations.counts + self._mutator.counts
        report.counts["connection_faults"] = sum(
            report.counts[name] for name in ("drop", "cut", "half_open", "slow")
        )
        report.counts["batches"] = sum(entries[-1].next_seq for entries in histories.values())
        self._add_timings(histories)

    async def _compare_tables(self, connection: asyncpg.Connection) -> None:
        for domain, shop in self._system.store.shops.items():
            differences = await oracle.compare_with_shop(connection, shop.catalog)
            self._report.truth += differences
            wrong = {name: count for name, count in differences.items() if count and name != "items_correct"}
            if wrong:
                self._report.violations.append(f"{domain} differs from its shop: {wrong}")

    def _add_timings(self, histories: Mapping[UUID, Sequence[journal.Entry]]) -> None:
        report, nemesis, connections = self._report, self._nemesis, self._system.connections
        sudden = [(loss.identity, loss.at) for loss in nemesis.losses if loss.kind != "term"]
        terminated = [(loss.identity, loss.at) for loss in nemesis.losses if loss.kind == "term"]
        report.handovers = [
            handover.seconds
            for handover in timings.takeovers(histories, connections, terminated)
            if not self._during_disturbance(handover)
        ]
        report.database_recoveries = timings.seconds_until_stored(histories, nemesis.database_recoveries)
        report.snapshot_ages = timings.snapshot_ages(histories, self._observations.snapshots)
        for takeover in timings.takeovers(histories, connections, sudden):
            report.takeovers.append(takeover.seconds)
            slow = [_describe(takeover)] if takeover.seconds > self._limits.max_takeover_seconds else []
            if self._during_disturbance(takeover):
                report.notes += slow
            else:
                report.takeovers_with_database.append(takeover.seconds)
                report.violations += slow

    def _during_disturbance(self, takeover: timings.Takeover) -> bool:
        return any(
            start < takeover.claimed_at and end > takeover.lost_at
            for start, end in self._nemesis.database_disturbances
        )


def _describe(takeover: timings.Takeover) -> str:
    at = datetime.fromtimestamp(takeover.lost_at, UTC).strftime("%H:%M:%S")
    return f"sync {takeover.sync_id} waited {takeover.seconds:.1f} s after {takeover.lost_owner} was lost at {at}"
