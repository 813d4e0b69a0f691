"""One chaos run, from the first process to the verdict."""

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
from tests.chaos.nemesis import ALL, ZOMBIES, Limits, Nemesis
from tests.chaos.system import ChaosSystem, Size, running_system
from tests.chaos.workload import Clients, Notes, ShopDriver

_SETTLE = 150.0
"""Seconds that syncs may take to end once nothing is broken any more."""
_RACES = frozenset({"CANCELLED", "MASS_DELETE_BLOCKED", "SOURCE_COUNT_MISMATCH"})
"""Reasons for which a sync may rightly not succeed while somebody changes catalogs and cancels."""


@dataclass(kw_only=True)
class Report:
    """What happened, and what was wrong."""

    seed: int
    fenced: bool
    seconds: float
    counts: Counter[str] = field(default_factory=Counter)
    failed_syncs: Counter[str] = field(default_factory=Counter)
    takeovers: list[float] = field(default_factory=list)
    clear_takeovers: list[float] = field(default_factory=list)
    """Those during which the database could be reached."""
    handovers: list[float] = field(default_factory=list)
    """From SIGTERM to the next claim, while the database could be reached."""
    database_returns: list[float] = field(default_factory=list)
    """From a PostgreSQL that takes connections again to the next stored batch."""
    snapshots: list[float] = field(default_factory=list)
    """From a transaction to the watcher that hears of it."""
    truth: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Slow takeovers that a missing database may explain."""

    def as_json(self) -> str:
        """One line."""
        return json.dumps(
            {
                "seed": self.seed,
                "fenced": self.fenced,
                "seconds": self.seconds,
                **dict(sorted(self.counts.items())),
                "failed_syncs": dict(self.failed_syncs),
                "takeovers": timings.summary(self.takeovers),
                "takeovers_with_database": timings.summary(self.clear_takeovers),
                "handovers": timings.summary(self.handovers),
                "writing_after_database_return": timings.summary(self.database_returns),
                "snapshot_age": timings.summary(self.snapshots),
                "truth": {name: self.truth[name] for name in oracle.COMPARED},
                "violations": len(self.violations),
            }
        )

    def line(self) -> str:
        """For people."""
        took, counts = timings.summary(self.takeovers), self.counts
        kills = counts["kill"] + counts["connector_kill"]
        return (
            f"chaos: {kills} kills, {counts['stop']} stops, {counts['pg_crash']} PostgreSQL crashes, "
            f"{counts['connection_faults']} connection faults; {counts['syncs']} syncs, "
            f"{counts['batches']} batches, "
            f"{took['count']} takeovers (p50 {took['p50']} s, p99 {took['p99']} s); "
            f"{len(self.violations)} violations"
        )


async def chaos(
    place: Path, *, seconds: float, seed: int, fenced: bool = True, size: Size | None = None
) -> Report:
    """Breaks the system for so long, lets it come to rest, and judges."""
    size = size or Size(fenced=fenced)
    report = Report(seed=seed, fenced=size.fenced, seconds=seconds)
    async with running_system(place, size, Random(seed)) as system:
        run = _Run(system, report, seed, Limits(lease_ttl=size.lease_ttl))
        try:
            await run.storm(seconds, ALL if size.fenced else ZOMBIES)
            settled = await run.settle()
            await run.judge(truth=settled)
        finally:
            await run.abandon()
    return report


class _Run:
    def __init__(self, system: ChaosSystem, report: Report, seed: int, limits: Limits) -> None:
        self._system = system
        self._report = report
        self._notes = Notes()
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
        clients = Clients(system.stubs, self._notes, Random(seed + 3))
        self._drivers = [
            ShopDriver(
                pb.Shop(platform=shop.spec.platform.value, domain=domain),
                clients,
                self._notes,
                Random(seed + 4 + n),
            )
            for n, (domain, shop) in enumerate(shops.items())
        ]
        self._driving: list[asyncio.Task[None]] = []

    async def storm(self, seconds: float, weights: dict[str, int]) -> None:
        """Faults, changes and syncs, all at once; then no more faults and changes."""
        self._driving = [asyncio.create_task(driver.run()) for driver in self._drivers]
        mutating = asyncio.create_task(self._mutator.run(0.05))
        try:
            await self._nemesis.run(seconds, weights)
        finally:
            self._mutator.stop()
            await mutating

    async def settle(self) -> bool:
        """Lets the syncs end and runs one more of each shop. False: they did not end in time."""
        for driver in self._drivers:
            driver.stop()
        try:
            async with asyncio.timeout(_SETTLE):
                await asyncio.gather(*self._driving)
                self._report.failed_syncs = Counter(self._notes.failed)
                lasts = await asyncio.gather(*(driver.once(pb.Sync.MODE_FULL) for driver in self._drivers))
        except TimeoutError:
            self._report.violations.append(f"syncs had not ended {_SETTLE:.0f} s after the last fault")
            return False
        self._report.violations += [
            f"the last sync of {sync.shop.domain} ended {pb.Sync.State.Name(sync.state)}: {sync.error.message}"
            for sync in lasts
            if sync.state != pb.Sync.STATE_SUCCEEDED
        ]
        return True

    async def abandon(self) -> None:
        """Ends what still drives, when a run was cut short."""
        for task in self._driving:
            task.cancel()
        await asyncio.gather(*self._driving, return_exceptions=True)

    async def judge(self, *, truth: bool) -> None:
        """Fills the report."""
        report, system = self._report, self._system
        connection = await system.postgres.connect()
        try:
            histories = await journal.read(connection)
            report.violations += journal.faults(histories, system.writers)
            report.violations += await oracle.of_syncs(connection, histories)
            if truth:
                await self._compare(connection)
        finally:
            await connection.close()
        report.violations += self._notes.faults
        report.violations += [death for one in (*system.catalogs, *system.connectors) for death in one.deaths]
        report.violations += [
            f"{count} syncs failed: {reason}"
            for reason, count in report.failed_syncs.items()
            if reason not in _RACES
        ]
        report.counts += self._nemesis.counts + self._notes.counts + self._mutator.counts
        report.counts["connection_faults"] = sum(
            report.counts[name] for name in ("drop", "cut", "half_open", "slow")
        )
        report.counts["batches"] = sum(entries[-1].next_seq for entries in histories.values())
        self._time(histories)

    async def _compare(self, connection: asyncpg.Connection) -> None:
        for domain, shop in self._system.store.shops.items():
            differences = await oracle.against_truth(connection, shop.catalog)
            self._report.truth += differences
            wrong = {name: count for name, count in differences.items() if count and name != "items_right"}
            if wrong:
                self._report.violations.append(f"{domain} differs from its store: {wrong}")

    def _time(self, histories: Mapping[UUID, Sequence[journal.Entry]]) -> None:
        report, nemesis, writers = self._report, self._nemesis, self._system.writers
        sudden = [(loss.identity, loss.at) for loss in nemesis.losses if loss.kind != "term"]
        asked = [(loss.identity, loss.at) for loss in nemesis.losses if loss.kind == "term"]
        report.handovers = [
            one.seconds for one in timings.takeovers(histories, writers, asked) if not self._in_storm(one)
        ]
        report.database_returns = timings.until_written(histories, nemesis.database_returns)
        report.snapshots = timings.of_snapshots(histories, self._notes.snapshots)
        for takeover in timings.takeovers(histories, writers, sudden):
            report.takeovers.append(takeover.seconds)
            if self._in_storm(takeover):
                report.notes += [_told(takeover)] if takeover.seconds > self._limits.longest_takeover else []
                continue
            report.clear_takeovers.append(takeover.seconds)
            if takeover.seconds > self._limits.longest_takeover:
                report.violations.append(_told(takeover))

    def _in_storm(self, takeover: timings.Takeover) -> bool:
        return any(began < takeover.taken and ended > takeover.lost for began, ended in self._nemesis.storms)


def _told(takeover: timings.Takeover) -> str:
    at = datetime.fromtimestamp(takeover.lost, UTC).strftime("%H:%M:%S")
    return f"sync {takeover.sync_id} waited {takeover.seconds:.1f} s after {takeover.loser} was lost at {at}"
