"""The metrics of syncs are right also when runs fail, are cancelled, lose their lease or wait repeatedly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from catalogsync_common.drain import Drain
from prometheus_client import CollectorRegistry

from catalog_svc.domain.errors import SourceFailed
from catalog_svc.domain.shop import ShopKey
from catalog_svc.domain.source import SourceEvent, SourceRequest
from catalog_svc.domain.sync import (
    Lease,
    StartSyncCommand,
    Sync,
    SyncError,
    SyncMode,
    SyncState,
    Waiting,
    WaitReason,
)
from catalog_svc.metrics import CatalogMetrics
from catalog_svc.usecases.ports import ProductSource
from catalog_svc.usecases.sync_commands import ChangeSync
from catalog_svc.usecases.sync_execution import SyncDependencies
from catalog_svc.usecases.sync_hub import SyncHub
from catalog_svc.usecases.sync_limits import RunConfig
from catalog_svc.usecases.worker import SyncSupervisor, Worker
from tests.fakes.memory_batches import MemoryBatches, MemorySweeps
from tests.fakes.memory_catalog import MemoryCatalog, MemoryLink, Outcome
from tests.fakes.memory_leases import MemoryLeases
from tests.fakes.memory_sync_commands import MemorySyncCommands, MemorySyncs
from tests.fakes.product_source import MemorySource, product
from tests.waiting import forever, let_tasks_run, until

COMMAND = StartSyncCommand(shop=ShopKey("shopify", "demo.myshopify.com"), mode=SyncMode.FULL, overlap=timedelta())
FORBIDDEN = SourceFailed(reason="SOURCE_FORBIDDEN", message="", transient=False)
NEVER = timedelta(hours=1)

Step = SourceEvent | Exception | Callable[[], Awaitable[object]]


def waiting(reason: WaitReason) -> Waiting:
    return Waiting(reason=reason, until=datetime.now(UTC))


@dataclass(frozen=True, slots=True)
class ScriptedSource:
    """Yields, raises or awaits each step."""

    steps: Sequence[Step]

    async def fetch(self, request: SourceRequest) -> AsyncGenerator[SourceEvent, None]:
        for step in self.steps:
            if isinstance(step, Exception):
                raise step
            if callable(step):
                await step()
            else:
                yield step


class Counted:
    """Replicas on a catalog in memory, whose metrics are one registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = CatalogMetrics(self.registry)
        self.catalog = MemoryCatalog()
        self.link = MemoryLink(self.catalog)
        self.leases = MemoryLeases(self.link)
        self.commands = MemorySyncCommands(self.link)

    def value(self, name: str, **labels: str) -> float:
        """The sum of the samples that have these labels."""
        samples = [sample for family in self.registry.collect() for sample in family.samples]
        return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())

    def supervisor(
        self,
        source: ProductSource,
        *,
        leases: MemoryLeases | None = None,
        hub: SyncHub | None = None,
        renew_interval: timedelta = NEVER,
    ) -> SyncSupervisor:
        """Return the supervisor of one more replica."""
        dependencies = SyncDependencies(
            leases=leases or self.leases,
            batches=MemoryBatches(self.link),
            source=source,
            sweeps=MemorySweeps(self.link),
            hub=hub or SyncHub(MemorySyncs(self.link)),
            metrics=self.metrics,
            config=RunConfig(renew_interval=renew_interval, max_retry_delay=timedelta()),
        )
        return SyncSupervisor(dependencies, drain=Drain())

    async def run(self, *steps: Step, renew_interval: timedelta = NEVER) -> None:
        """Claim the sync on one more replica, and run it from a source with these steps."""
        (claimed,) = await self.leases.claim()
        await self.supervisor(ScriptedSource(steps), renew_interval=renew_interval).run(claimed)


@pytest.fixture
def counted() -> Counted:
    return Counted()


async def test_a_sync_waits_for_one_reason_at_a_time_and_for_none_after_its_run(counted: Counted) -> None:
    await counted.commands.start(COMMAND)

    async def check_running() -> None:
        assert counted.value("catalog_syncs_running", platform="shopify") == 1

    async def check_waiting() -> None:
        await let_tasks_run()
        assert counted.value("catalog_syncs_waiting", reason="THROTTLED") == 0
        assert counted.value("catalog_syncs_waiting", reason="CONNECTOR") == 1

    throttled, connector = waiting(WaitReason.THROTTLED), waiting(WaitReason.CONNECTOR)
    with pytest.raises(RuntimeError, match="a bug"):
        await counted.run(check_running, throttled, connector, check_waiting, RuntimeError("a bug"))
    assert counted.value("catalog_syncs_running") == 0
    assert counted.value("catalog_syncs_waiting") == 0
    assert counted.value("catalog_sync_waits_total", platform="shopify") == 2


async def test_a_cancelled_run_neither_runs_nor_waits(counted: Counted) -> None:
    await counted.commands.start(COMMAND)
    run = asyncio.create_task(counted.run(waiting(WaitReason.THROTTLED), forever))
    await until(lambda: counted.value("catalog_syncs_waiting", reason="THROTTLED") == 1)
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    assert run.cancelled()
    assert counted.value("catalog_syncs_running") == 0
    assert counted.value("catalog_syncs_waiting") == 0
    assert counted.value("catalog_leases_lost_total") == 0


@pytest.mark.parametrize("refused", ["write", "renewal"])
async def test_a_lost_lease_is_counted_once_and_the_next_run_is_a_takeover(counted: Counted, refused: str) -> None:
    await counted.commands.start(COMMAND)

    async def taken_over() -> None:
        counted.catalog.advance_clock(timedelta(minutes=1))
        await counted.run(FORBIDDEN)

    if refused == "write":
        await counted.run(taken_over, waiting(WaitReason.THROTTLED))
    else:
        await counted.run(taken_over, forever, renew_interval=timedelta(milliseconds=10))
    assert counted.value("catalog_leases_lost_total") == 1
    assert counted.value("catalog_syncs_claimed_total") == 1
    assert counted.value("catalog_syncs_taken_over_total") == 1
    assert counted.value("catalog_syncs_ended_total", state="FAILED", reason="SOURCE_FORBIDDEN") == 1
    assert counted.value("catalog_syncs_running") == 0


async def test_a_run_that_lost_its_lease_does_not_end_the_wait_of_its_successor(counted: Counted) -> None:
    await counted.commands.start(COMMAND)
    successors: list[asyncio.Task[None]] = []

    async def taken_over() -> None:
        counted.catalog.advance_clock(timedelta(minutes=1))
        successors.append(asyncio.create_task(counted.run(waiting(WaitReason.THROTTLED), forever)))
        await until(lambda: counted.value("catalog_syncs_waiting", reason="THROTTLED") == 1)

    await counted.run(taken_over, waiting(WaitReason.CONNECTOR))
    assert counted.value("catalog_syncs_running") == 1
    assert counted.value("catalog_syncs_waiting", reason="THROTTLED") == 1
    assert counted.value("catalog_syncs_waiting", reason="CONNECTOR") == 0
    successors[0].cancel()
    await asyncio.gather(*successors, return_exceptions=True)
    assert counted.value("catalog_syncs_waiting") == 0


async def test_stored_batches_and_the_end_of_a_sync_are_counted(counted: Counted) -> None:
    await counted.commands.start(COMMAND)
    (claimed,) = await counted.leases.claim()
    source = MemorySource([product(f"{n}", items=3) for n in range(4)])
    await counted.supervisor(source).run(claimed)
    assert counted.value("catalog_products_stored_total", platform="shopify") == 4
    assert counted.value("catalog_items_stored_total", platform="shopify") == 12
    batches = counted.value("catalog_batches_stored_total", platform="shopify")
    assert batches == counted.value("catalog_batch_seconds_count", platform="shopify") > 0
    assert counted.value("catalog_syncs_ended_total", state="SUCCEEDED", mode="FULL", reason="") == 1


async def test_an_end_that_others_see_before_its_own_run_is_counted_once_and_is_no_lost_lease(
    counted: Counted,
) -> None:
    hub = SyncHub(MemorySyncs(counted.link))

    class SeenBeforeTheReply(MemoryLeases):
        async def end(self, lease: Lease, state: SyncState, error: SyncError | None = None, **more: Any) -> Sync:
            ended = await super().end(lease, state, error, **more)
            hub.publish(ended)
            # Renewals are refused from now on as well.
            await let_tasks_run()
            return ended

    await counted.commands.start(COMMAND)
    (claimed,) = await counted.leases.claim()
    leases, source = SeenBeforeTheReply(counted.link), ScriptedSource([FORBIDDEN])
    await counted.supervisor(source, leases=leases, hub=hub, renew_interval=timedelta()).run(claimed)
    assert counted.value("catalog_syncs_ended_total", state="FAILED") == 1
    assert counted.value("catalog_leases_lost_total") == 0


async def test_a_cancel_ends_a_sync_that_does_not_run(counted: Counted) -> None:
    sync = await counted.commands.start(COMMAND)
    change = ChangeSync(
        commands=counted.commands,
        publish=lambda sync: None,
        cancel_platform_job=lambda sync: None,
        wake_worker=lambda: None,
        metrics=counted.metrics,
    )
    await change.cancel(sync.sync_id)
    assert counted.value("catalog_syncs_ended_total", state="CANCELLED", mode="FULL") == 1


async def test_an_operation_that_the_database_did_not_do_is_counted_as_its_failure(counted: Counted) -> None:
    await counted.commands.start(COMMAND)
    counted.link.outcomes.append(Outcome.NOT_APPLIED)
    worker = Worker(
        leases=counted.leases,
        supervisor=counted.supervisor(ScriptedSource([FORBIDDEN])),
        drain=Drain(),
        max_running=1,
        max_per_platform=1,
        metrics=counted.metrics,
        poll_interval=NEVER,
    )
    running = asyncio.create_task(worker.run())
    await until(lambda: counted.value("catalog_database_failures_total") == 1)
    assert counted.value("catalog_syncs_claimed_total") == 0
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
