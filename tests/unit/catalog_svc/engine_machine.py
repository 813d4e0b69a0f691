"""State machine: the engine under random sequences of starts, batches, crashes, takeovers, cancels and changes."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from catalog_svc.domain.errors import (
    ConnectorUnavailable,
    LeaseLost,
    SourceFailed,
    SyncAlreadyRunning,
    SyncNotCancellable,
    SyncNotResumable,
)
from catalog_svc.domain.shop import ShopKey
from catalog_svc.domain.sync import StartSyncCommand, Sync, SyncMode, SyncState
from catalog_svc.metrics import NullSyncMetrics
from catalog_svc.usecases.sync_commands import ChangeSync
from tests.fakes.changing_shop import ChangingShop
from tests.fakes.memory_catalog import MemoryCatalog, MemoryLink, Outcome
from tests.fakes.memory_state import SyncRow
from tests.fakes.memory_sync_commands import MemorySyncCommands
from tests.unit.catalog_svc.engine_oracle import Oracle
from tests.unit.catalog_svc.engine_process import Process

T = TypeVar("T")
SHOP = ShopKey("shopify", "demo.myshopify.com")
REVOKED = SourceFailed(reason="SOURCE_UNAUTHORIZED", message="connect the shop again", transient=False)
which = st.integers(min_value=0, max_value=7)
items = st.integers(min_value=1, max_value=3)
outcomes = st.lists(st.sampled_from(Outcome), max_size=3)
has_process = precondition(lambda self: bool(self.processes))
_IDLE_ROUNDS = 20


class EngineMachine(RuleBasedStateMachine):
    """Any number of replicas with one database and one shop."""

    database: ClassVar[type[MemoryCatalog]] = MemoryCatalog

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.shop = ChangingShop()
        self.oracle = Oracle(shop=self.shop)
        self.catalog = self.database(products_per_sweep=1)
        self.catalog.on_commit = self.oracle.check_commit
        self.commands = MemorySyncCommands(MemoryLink(self.catalog))
        self.processes: list[Process] = []

    def teardown(self) -> None:
        for process in self.processes:
            self._do(process.kill())
        self.loop.close()

    # -- clients

    @initialize(sizes=st.lists(items, min_size=4, max_size=9), synced=st.booleans())
    def open_shop(self, sizes: list[int], synced: bool) -> None:
        for size in sizes:
            self.shop.add(size)
        if synced:
            self.sync_undisturbed(SyncMode.FULL)
        self.start(SyncMode.FULL)
        self.claim(reading=True)

    @rule(mode=st.sampled_from([SyncMode.FULL, SyncMode.INCREMENTAL]))
    def start(self, mode: SyncMode) -> None:
        # The shop is so small that the deletion guard would stop the deletions that are tested here.
        order = StartSyncCommand(shop=SHOP, mode=mode, overlap=timedelta(0), allow_mass_delete=True)
        starting = self.commands.start(order)
        if self._active():
            with pytest.raises(SyncAlreadyRunning):
                self._do(starting)
        else:
            assert self._do(starting).state is SyncState.PENDING

    @rule(mode=st.sampled_from([SyncMode.FULL, SyncMode.INCREMENTAL]))
    def sync_undisturbed(self, mode: SyncMode) -> None:
        """Whatever happened before: without further faults a sync succeeds, and the catalog equals the shop."""
        self.catalog.advance_clock(self.catalog.ttl * 2)
        for _ in range(2):
            if not self._active():
                self.start(mode)
            self.claim(reading=True)
            if self._active():
                self.processes[-1].reader.allow_all()
                self._settle()
            assert not self._active()
        assert self._latest_sync().state is SyncState.SUCCEEDED
        assert self.oracle.live_in(self.catalog.state).keys() >= self.shop.products.keys()

    @rule(index=which, same_replica=st.booleans())
    def cancel(self, index: int, same_replica: bool) -> None:
        """Cancel on the replica that runs the sync, or on another one."""
        latest = self._latest()
        if latest is None:
            return
        process = self._process(index) if same_replica and self.processes else Process(self.catalog, self.shop)
        changes = ChangeSync(
            commands=self.commands,
            publish=process.hub.publish,
            cancel_platform_job=lambda sync: None,
            wake_worker=lambda: None,
            metrics=NullSyncMetrics(),
        )
        if latest.sync.state in (SyncState.SUCCEEDED, SyncState.FAILED):
            with pytest.raises(SyncNotCancellable):
                self._do(changes.cancel(latest.sync.sync_id))
        else:
            assert self._do(changes.cancel(latest.sync.sync_id)).state is SyncState.CANCELLED

    @rule()
    def resume(self) -> None:
        latest = self._latest()
        if latest is None:
            return
        resuming = self.commands.resume(latest.sync.sync_id, request_id="", correlation_id="")
        if self._active():
            with pytest.raises(SyncAlreadyRunning):
                self._do(resuming)
        elif latest.sync.state is SyncState.SUCCEEDED or not latest.checkpoint:
            with pytest.raises(SyncNotResumable):
                self._do(resuming)
        else:
            resumed = self._do(resuming)
            assert (resumed.mode, resumed.progress.products) == (
                latest.sync.mode,
                latest.sync.progress.products,
            )

    # -- replicas

    @rule(reading=st.booleans())
    def claim(self, reading: bool) -> None:
        """A replica tries to claim a sync; with `reading` it also reads the first batch."""
        process = Process(self.catalog, self.shop)
        rows = self._active()
        claimable = [row for row in rows if row.lease_until is None or row.lease_until < self.catalog.now]
        claimed = self._do(process.claim())
        if claimed is not None:
            self.processes.append(process)
        assert (claimed is not None) == bool(claimable)
        process.reader.allow(2 * reading)
        self._settle()

    @has_process
    @rule(index=which, events=st.integers(min_value=1, max_value=4), outcomes=outcomes)
    def read(self, index: int, events: int, outcomes: list[Outcome]) -> None:
        """Read some batches, or to the end, with these outcomes of the next transactions."""
        process = self._process(index)
        process.link.outcomes.extend(outcomes)
        process.reader.allow(events)
        self._settle()

    @has_process
    @rule(index=which, outcomes=outcomes)
    def read_to_the_end(self, index: int, outcomes: list[Outcome]) -> None:
        process = self._process(index)
        process.link.outcomes.extend(outcomes)
        process.reader.allow_all()
        self._settle()

    @has_process
    @rule(index=which)
    def thaw(self, index: int) -> None:
        """A frozen replica continues: it attempts its write now."""
        self._process(index).link.thaw()
        self._settle()

    @has_process
    @rule(index=which, graceful=st.booleans())
    def stop(self, index: int, graceful: bool) -> None:
        """Stop a replica by SIGTERM, or by SIGKILL: then it loses its state, at whatever point it is."""
        process = self._process(index)
        if graceful:
            process.drain.start()
            self._settle()
            assert process not in self.processes or process.link.frozen
        else:
            self.processes.remove(process)
            self._do(process.kill())

    @rule(reading=st.booleans())
    def lease_expires_and_another_replica_claims(self, reading: bool) -> None:
        self.catalog.advance_clock(self.catalog.ttl * 2)
        self.claim(reading)

    @has_process
    @rule(index=which)
    def renew(self, index: int) -> None:
        """Renew the lease, as the timer of an execution does."""
        process = self._process(index)
        if process.link.frozen or process.link.outcomes or process.claimed is None:
            return
        lease = process.claimed.lease
        row = self.catalog.state.row(lease.sync_id)
        if row.epoch == lease.epoch and not row.sync.state.ended:
            self._do(process.leases.renew(lease))
        else:
            with pytest.raises(LeaseLost):
                self._do(process.leases.renew(lease))

    # -- shops

    @has_process
    @rule(index=which, failure=st.sampled_from((REVOKED, ConnectorUnavailable(), None)))
    def fail_source(self, index: int, failure: Exception | None) -> None:
        """The source fails, or its stream ends without its end message."""
        reader = self._process(index).reader
        reader.failure, reader.cut = failure, failure is None
        reader.allow(1)
        self._settle()

    @rule(change=st.sampled_from(("add", "change", "delete")), index=which, size=items)
    def change_shop(self, change: str, index: int, size: int) -> None:
        ids = sorted(self.shop.products)
        if change == "add" or not ids:
            self.shop.add(size)
        elif change == "change":
            self.shop.change(ids[index % len(ids)], size)
        else:
            self.shop.delete(ids[index % len(ids)])

    # -- invariants

    @invariant()
    def nothing_is_lost_or_duplicated(self) -> None:
        self.oracle.check(self.catalog.state)

    # -- internal

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def _settle(self) -> None:
        self._do(self._until_idle())
        self.processes = [process for process in self.processes if not process.done]

    async def _until_idle(self) -> None:
        """Wait until no replica makes progress any more."""
        idle, mark = 0, (0, 0)
        while idle < _IDLE_ROUNDS:
            await asyncio.sleep(0)
            now = self.catalog.commits, self.shop.reads
            idle, mark = (0, now) if now != mark else (idle + 1, mark)

    def _active(self) -> list[SyncRow]:
        return [row for row in self.catalog.state.syncs.values() if not row.sync.state.ended]

    def _latest(self) -> SyncRow | None:
        rows = list(self.catalog.state.syncs.values())
        return rows[-1] if rows else None

    def _latest_sync(self) -> Sync:
        latest = self._latest()
        assert latest is not None
        return latest.sync

    def _process(self, index: int) -> Process:
        return self.processes[index % len(self.processes)]
