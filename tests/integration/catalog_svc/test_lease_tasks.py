"""LeaseTasks over the stored tasks: what a stream does for a worker that has all its slots in use."""

from __future__ import annotations

from contextlib import aclosing
from datetime import timedelta
from uuid import UUID

import pytest
from catalogsync_common.drain import Drain
from prometheus_client import CollectorRegistry

from catalog_svc.analysis_metrics import PrometheusAnalysisMetrics
from catalog_svc.domain.analysis import LeasedPage, Worker
from catalog_svc.storage.analysis_tasks import AnalysisTaskStore
from catalog_svc.storage.database import Database
from catalog_svc.usecases.analysis_hub import AnalysisHub
from catalog_svc.usecases.lease_tasks import LeaseStreamLimits, LeaseTasks
from tests.integration.catalog_svc.analyzing import ANALYZER, Analyzing, pictured
from tests.integration.catalog_svc.conftest import CatalogWorld
from tests.waiting import within_timeout

_SLOTS = 2
_RECOUNTS = 5


class CountedTasks(AnalysisTaskStore):
    """The stored tasks. After some recounts of a full worker a slot becomes free."""

    def __init__(self, analyzing: Analyzing) -> None:
        super().__init__(Database(analyzing.world.engine), write_ttl=timedelta(minutes=1))
        self._analyzing = analyzing
        self.lease_count = 0
        self.recount_count = 0
        self.page = LeasedPage()

    async def lease(self, worker: Worker, shop_id: UUID, *, limit: int, from_position: int = 0) -> LeasedPage:
        self.lease_count += 1
        page = await super().lease(worker, shop_id, limit=limit, from_position=from_position)
        self.page = page if page.tasks else self.page
        return page

    async def held_leases(self, worker_id: str) -> int:
        self.recount_count += 1
        if self.recount_count == _RECOUNTS:
            await self._analyzing.submit(self.page.tasks[0])
        return await super().held_leases(worker_id)


@pytest.fixture
async def analyzing(world: CatalogWorld) -> Analyzing:
    """A shop with three images to be analyzed."""
    analyzing = Analyzing(world)
    await analyzing.sync(pictured("p1", "a"), pictured("p2", "b"), pictured("p3", "c"))
    await analyzing.switch(ANALYZER)
    return analyzing


async def test_a_full_worker_is_recounted_without_a_write_until_it_has_a_slot(analyzing: Analyzing) -> None:
    tasks = CountedTasks(analyzing)
    stream = LeaseTasks(
        tasks=tasks,
        hub=AnalysisHub(tasks),
        drain=Drain(),
        metrics=PrometheusAnalysisMetrics(CollectorRegistry()),
        limits=LeaseStreamLimits(recount_every=timedelta(milliseconds=1)),
    )
    received: list[int] = []
    leases: list[int] = []
    async with aclosing(stream(analyzing.worker(max_in_flight=_SLOTS))) as messages:
        while sum(received) < 3:
            message = await within_timeout(anext(messages))
            received.append(len(message.tasks))
            leases.append(tasks.lease_count)
    assert [count for count in received if count] == [_SLOTS, 1]
    # The lease that fills the worker, the one that finds it full, and the one after a slot has become free.
    assert leases[-1] == 3
    assert tasks.recount_count == _RECOUNTS
