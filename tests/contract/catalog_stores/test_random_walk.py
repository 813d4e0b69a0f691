"""Hundreds of random steps of owners, former owners, cancels and resumes, over PostgreSQL and in memory.

A small model predicts for each step whether it may write, and what is stored afterwards.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from uuid import UUID

import pytest

from catalog_svc.domain.errors import LeaseLost, SyncAlreadyRunning, SyncNotCancellable, SyncNotResumable
from catalog_svc.domain.sync import ClaimedSync, Lease, Sync, SyncError, SyncState
from tests.contract.catalog_stores.conftest import HEADER, Replica, Stores, batch
from tests.fakes.product_source import product

STEPS = 150
_FAILED = SyncError(reason="SOURCE_UNAUTHORIZED", message="connect the shop again")


@dataclass(kw_only=True, slots=True)
class Model:
    """The latest sync of the shop, the shop's fence, and all products stored so far."""

    sync_id: UUID | None = None
    state: SyncState = SyncState.FAILED
    epoch: int = 0
    next_seq: int = 0
    revision: int = 0
    seen: int = 0
    claimable: bool = False
    stored: set[str] = field(default_factory=set)

    @property
    def active(self) -> bool:
        return not self.state.ended

    def begin(self, sync: Sync) -> None:
        self.sync_id, self.state, self.revision, self.claimable = sync.sync_id, sync.state, 1, True

    def owns(self, lease: Lease) -> bool:
        running = self.state is SyncState.RUNNING
        return running and (lease.sync_id, lease.epoch) == (self.sync_id, self.epoch)


class Walk:
    """Takes random steps. Every lease that was ever claimed is kept, as a former owner would keep it."""

    def __init__(self, stores: Stores, dice: random.Random) -> None:
        self.stores = stores
        self.random = dice
        self.model = Model()
        self.leases: list[tuple[Replica, ClaimedSync, Lease]] = []
        self._product = 0

    async def step(self) -> None:
        weights = {
            self.start: 2,
            self.claim: 4,
            self.apply: 8,
            self.expire: 1,
            self.cancel: 1,
            self.resume: 1,
            self.end: 1,
            self.release: 1,
            self.renew: 1,
        }
        (chosen,) = self.random.choices(list(weights), list(weights.values()))
        await chosen()
        await self.check()

    async def check(self) -> None:
        model = self.model
        assert {pid for pid, (_, live) in (await self.stores.products()).items() if live} == model.stored
        if model.sync_id is not None:
            sync = await self.stores.replica().syncs.get(model.sync_id)
            assert (sync.state, sync.revision) == (model.state, model.revision)
            assert sync.progress.products.seen == sync.progress.products.created == model.seen

    async def start(self) -> None:
        replica = self.stores.replica()
        if self.model.active:
            with pytest.raises(SyncAlreadyRunning):
                await replica.create_sync()
        else:
            self.model.begin(await replica.create_sync())
            self.model.seen = 0

    async def claim(self) -> None:
        replica, model = self.stores.replica(), self.model
        claims = await replica.leases.claim()
        assert bool(claims) == (model.active and model.claimable)
        for claimed in claims:
            model.epoch, model.state, model.claimable = model.epoch + 1, SyncState.RUNNING, False
            assert (claimed.lease.epoch, claimed.lease.next_seq) == (model.epoch, model.next_seq)
            await replica.leases.begin(claimed.lease, HEADER)
            model.revision += 2
            self.leases.append((replica, claimed, claimed.lease))

    async def apply(self) -> None:
        """Store a batch as the owner or a former owner; sometimes twice, as after an unacknowledged commit."""
        if not self.leases:
            return
        index = max(0, len(self.leases) - self.random.choice((1, 1, 2, 3)))
        replica, claimed, lease = self.leases[index]
        self._product += 1
        what = batch(product(str(self._product)), checkpoint=str(self._product).encode())
        may = self.model.owns(lease) and lease.next_seq == self.model.next_seq
        for _ in range(self.random.choice((1, 1, 2))):
            writing = replica.batches.apply(lease, claimed.sync.shop, what, full=True, items_per_second=None)
            if not may:
                with pytest.raises(LeaseLost):
                    await writing
                return
            after, _ = await writing
        self.model.next_seq, self.model.revision = self.model.next_seq + 1, self.model.revision + 1
        self.model.seen += 1
        self.model.stored.add(str(self._product))
        if self.random.random() < 0.8:
            self.leases[index] = replica, claimed, after

    async def expire(self) -> None:
        if self.model.active and self.model.sync_id:
            await self.stores.expire(self.model.sync_id)
            self.model.claimable = True

    async def cancel(self) -> None:
        model, replica = self.model, self.stores.replica()
        if model.sync_id is None or self.random.random() < 0.5:
            return
        if model.active:
            await replica.commands.cancel(model.sync_id)
            model.state, model.epoch, model.revision = SyncState.CANCELLED, model.epoch + 1, model.revision + 1
        elif model.state is SyncState.CANCELLED:
            await replica.commands.cancel(model.sync_id)
        else:
            with pytest.raises(SyncNotCancellable):
                await replica.commands.cancel(model.sync_id)

    async def resume(self) -> None:
        model, replica = self.model, self.stores.replica()
        if model.sync_id is None:
            return
        if model.active or not model.seen:
            with pytest.raises((SyncAlreadyRunning, SyncNotResumable)):
                await replica.commands.resume(model.sync_id, request_id="", correlation_id="")
        else:
            model.begin(await replica.commands.resume(model.sync_id, request_id="", correlation_id=""))

    async def end(self) -> None:
        if self.leases and self.random.random() < 0.3:
            replica, _, lease = self.random.choice(self.leases[-3:])
            if self.model.owns(lease):
                await replica.leases.end(lease, SyncState.FAILED, _FAILED)
                self.model.state, self.model.revision = SyncState.FAILED, self.model.revision + 1
            elif lease.sync_id != self.model.sync_id or self.model.state is not SyncState.FAILED:
                # Only the owner that ended the sync may repeat the end.
                with pytest.raises(LeaseLost):
                    await replica.leases.end(replace(lease, epoch=-1), SyncState.FAILED, _FAILED)

    async def release(self) -> None:
        if self.leases:
            replica, _, lease = self.random.choice(self.leases[-3:])
            await replica.leases.release(lease)
            self.model.claimable = self.model.claimable or self.model.owns(lease)

    async def renew(self) -> None:
        if not self.leases:
            return
        replica, _, lease = self.random.choice(self.leases[-3:])
        if self.model.owns(lease):
            reacquired = await replica.leases.reacquire(lease)
            assert reacquired.lease.next_seq == self.model.next_seq
            self.model.claimable = False
        else:
            with pytest.raises(LeaseLost):
                await replica.leases.renew(lease)


@pytest.mark.parametrize("seed", range(3))
async def test_every_step_does_what_the_model_says(stores: Stores, seed: int) -> None:
    walk = Walk(stores, random.Random(seed))
    for _ in range(STEPS):
        await walk.step()
    assert len(walk.model.stored) > STEPS // 30
