"""What the catalog counts is true also when runs break, are lost or wait for one thing after another."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry

from catalog_svc.domain.errors import LeaseLost, StorageUnavailable
from catalog_svc.domain.progress import Waiting, WaitReason
from catalog_svc.domain.shop import ShopKey
from catalog_svc.domain.sync import ClaimedSync, StartSyncCommand, SyncError, SyncMode, SyncState
from catalog_svc.metrics.ports import MeteredLeases, MeteredSupervisor, MeteredSyncCommands
from catalog_svc.metrics.syncs import SyncMetrics
from tests.fakes.memory_catalog import Fate, MemoryCatalog, MemoryLink
from tests.fakes.memory_leases import MemoryLeases
from tests.fakes.memory_sync_commands import MemorySyncCommands

ORDER = StartSyncCommand(shop=ShopKey("shopify", "demo.myshopify.com"), mode=SyncMode.FULL, overlap=timedelta())


class Counted:
    """One replica on a catalog in memory, counted."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.catalog = MemoryCatalog()
        self.link = MemoryLink(self.catalog)
        metrics = SyncMetrics(self.registry)
        self.leases = MeteredLeases(MemoryLeases(self.link), metrics)
        self.commands = MeteredSyncCommands(MemorySyncCommands(self.link), metrics)
        self._metrics = metrics

    def value(self, name: str, **labels: str) -> float:
        """The sum of the samples that have these labels."""
        samples = [sample for family in self.registry.collect() for sample in family.samples]
        return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())

    async def wait(self, claimed: ClaimedSync, reason: WaitReason) -> None:
        waiting = Waiting(reason=reason, until=datetime.now(UTC), message="")
        await self.leases.wait(claimed.lease, claimed.sync.shop, waiting)

    async def run(self, work: Callable[[ClaimedSync], Awaitable[None]]) -> None:
        """Claims a sync and runs it by `work`."""
        (claimed,) = await self.leases.claim()
        await MeteredSupervisor(RunBy(work), self._metrics).run(claimed)


@dataclass(frozen=True, slots=True)
class RunBy:
    """Runs by a function."""

    work: Callable[[ClaimedSync], Awaitable[None]]

    async def run(self, claimed: ClaimedSync) -> None:
        await self.work(claimed)


@pytest.fixture
def counted() -> Counted:
    return Counted()


async def test_a_sync_waits_for_one_thing_at_a_time_and_for_nothing_once_its_run_is_over(counted: Counted) -> None:
    await counted.commands.start(ORDER)

    async def work(claimed: ClaimedSync) -> None:
        assert counted.value("catalog_syncs_running", platform="shopify") == 1
        await counted.wait(claimed, WaitReason.THROTTLED)
        await counted.wait(claimed, WaitReason.CONNECTOR)
        assert counted.value("catalog_syncs_waiting", reason="THROTTLED") == 0
        assert counted.value("catalog_syncs_waiting", reason="CONNECTOR") == 1
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError):
        await counted.run(work)
    assert counted.value("catalog_syncs_running") == 0
    assert counted.value("catalog_syncs_waiting") == 0
    assert counted.value("catalog_sync_waits_total", platform="shopify") == 2


async def test_a_run_that_lost_its_lease_is_told_and_the_next_one_is_a_takeover(counted: Counted) -> None:
    await counted.commands.start(ORDER)

    async def frozen(claimed: ClaimedSync) -> None:
        counted.catalog.let_time_pass(timedelta(minutes=1))
        await counted.run(ends)
        await counted.leases.renew(claimed.lease)

    async def ends(claimed: ClaimedSync) -> None:
        error = SyncError(reason="SOURCE_FORBIDDEN", message="")
        await counted.leases.end(claimed.lease, SyncState.FAILED, error)

    with pytest.raises(LeaseLost):
        await counted.run(frozen)
    assert counted.value("catalog_leases_lost_total") == 1
    assert counted.value("catalog_syncs_claimed_total") == 1
    assert counted.value("catalog_syncs_taken_over_total") == 1
    assert counted.value("catalog_syncs_ended_total", state="FAILED", reason="SOURCE_FORBIDDEN") == 1


async def test_the_end_of_a_run_that_lost_its_lease_ends_no_wait_of_its_successor(counted: Counted) -> None:
    await counted.commands.start(ORDER)

    async def loses_its_lease(claimed: ClaimedSync) -> None:
        counted.catalog.let_time_pass(timedelta(minutes=1))
        (successor,) = await counted.leases.claim()
        await counted.wait(successor, WaitReason.THROTTLED)

    await counted.run(loses_its_lease)
    assert counted.value("catalog_syncs_waiting", reason="THROTTLED") == 1


async def test_a_cancel_ends_a_sync_that_nobody_ran(counted: Counted) -> None:
    sync = await counted.commands.start(ORDER)
    await counted.commands.cancel(sync.sync_id)
    assert counted.value("catalog_syncs_ended_total", state="CANCELLED", mode="FULL") == 1


async def test_what_the_database_did_not_do_is_counted_as_its_failure(counted: Counted) -> None:
    await counted.commands.start(ORDER)
    counted.link.fates.append(Fate.NOT_APPLIED)
    with pytest.raises(StorageUnavailable):
        await counted.leases.claim()
    assert counted.value("catalog_database_failures_total") == 1
    assert counted.value("catalog_syncs_claimed_total") == 0
