"""The metrics of the whole catalog show what is stored, and have no values while that is unknown."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from catalog_svc.domain.errors import QueryTooExpensive, StorageUnavailable
from catalog_svc.domain.monitoring import ActiveSyncs, AnalysisTasks, CatalogState, ShopFreshness
from catalog_svc.domain.shop import ShopKey
from catalog_svc.domain.sync import Sync
from catalog_svc.state_metrics import CatalogStateMetrics
from catalog_svc.storage.database import Database
from catalog_svc.storage.monitoring import MonitoringStore
from catalog_svc.storage.refresh_requests import RefreshRequestStore
from catalog_svc.usecases.state_monitor import CatalogStates, StateMonitor
from tests.fakes.product_source import MemorySource, product
from tests.integration.catalog_svc.analyzing import Analyzing, pictured
from tests.integration.catalog_svc.conftest import CatalogWorld


class Monitored:
    """A state monitor over the database of a world."""

    def __init__(self, world: CatalogWorld, states: CatalogStates | None = None, **more: Any) -> None:
        self.registry = CollectorRegistry()
        database = Database(world.engine)
        self.monitor = StateMonitor(
            states=states or MonitoringStore(database),
            refreshes=RefreshRequestStore(database),
            drain=world.drain,
            metrics=CatalogStateMetrics(self.registry),
            **more,
        )

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"catalog_{name}", labels)

    def freshness(self) -> dict[str, float]:
        """Return how many shops are at most so old, in seconds."""
        name = "catalog_shop_freshness_seconds_bucket"
        samples = [sample for family in self.registry.collect() for sample in family.samples]
        return {sample.labels["le"]: sample.value for sample in samples if sample.name == name}


@pytest.fixture
async def monitored(world: CatalogWorld) -> Monitored:
    return Monitored(world)


async def create(world: CatalogWorld, name: str, platform: str = "shopify") -> Sync:
    return await world.create_sync(ShopKey(platform, f"{name}.example"))


async def test_active_syncs_are_counted_by_platform_and_state(world: CatalogWorld, monitored: Monitored) -> None:
    await monitored.monitor.read()
    assert monitored.value("syncs_active", platform="shopify", state="pending") is None
    first = await create(world, "a")
    await create(world, "b")
    await create(world, "c", "woocommerce")
    await world.execute(
        "UPDATE sync_queue SET created_at = clock_timestamp() - interval '1 h' WHERE shop_id = :shop_id",
        shop_id=first.shop.shop_id,
    )
    await monitored.monitor.read()
    assert monitored.value("syncs_active", platform="shopify", state="pending") == 2
    assert monitored.value("syncs_active", platform="woocommerce", state="pending") == 1
    assert (monitored.value("syncs_pending_oldest_seconds", platform="shopify") or 0) >= 3600
    assert (monitored.value("syncs_pending_oldest_seconds", platform="woocommerce") or 0) < 3600

    claimed = [await world.claim() for _ in range(3)]
    await world.expire_lease(first.sync_id)
    (other,) = (one for one in claimed if one.sync.shop.key.domain == "b.example")
    await world.leases.release(other.lease)
    await monitored.monitor.read()
    assert monitored.value("syncs_active", platform="shopify", state="pending") == 0
    assert monitored.value("syncs_pending_oldest_seconds", platform="shopify") == 0
    assert monitored.value("syncs_active", platform="shopify", state="unowned") == 2
    assert (monitored.value("syncs_unowned_longest_seconds", platform="shopify") or 0) >= 1
    assert monitored.value("syncs_active", platform="woocommerce", state="running") == 1
    assert monitored.value("syncs_unowned_longest_seconds", platform="woocommerce") == 0


async def test_shops_are_counted_by_the_age_of_their_watermark(world: CatalogWorld, monitored: Monitored) -> None:
    await create(world, "never")
    for name, age in (("fresh", "1 s"), ("hours", "2 h"), ("days", "3 d"), ("months", "90 d"), ("future", "-1 h")):
        sync = await create(world, name)
        await world.execute(
            f"UPDATE shop_state SET watermark = clock_timestamp() - interval '{age}' WHERE shop_id = :shop_id",
            shop_id=sync.shop.shop_id,
        )
    gone = await create(world, "gone")
    await world.execute("UPDATE shop_state SET deleting = true WHERE shop_id = :id", id=gone.shop.shop_id)
    await monitored.monitor.read()
    found = monitored.freshness()
    assert (found["300"], found["3600"], found["10800"]) == (2, 2, 3)
    assert (found["172800"], found["604800"], found["2592000"], found["+Inf"]) == (3, 4, 4, 5)
    assert monitored.value("shops_never_synced") == 1
    days = 90 + 3 + 2 / 24
    assert monitored.value("shop_freshness_seconds_gsum") == pytest.approx(days * 86_400, abs=600)


async def test_a_successful_sync_makes_its_shop_fresh(world: CatalogWorld, monitored: Monitored) -> None:
    await world.sync(MemorySource([product("1", items=1)]))
    await monitored.monitor.read()
    assert monitored.freshness()["+Inf"] == 1
    assert monitored.value("shops_never_synced") == 0


async def test_analysis_tasks_are_counted_by_analyzer_and_state(world: CatalogWorld, monitored: Monitored) -> None:
    analyzing = Analyzing(world)
    await analyzing.sync(pictured("1", "a", "b", "c"), pictured("2", "d"))
    await analyzing.switch("quality", "category")
    await analyzing.lease(limit=2)
    of_category = "analyzer = 'category' AND image_url LIKE '%/d.jpg'"
    await world.execute(f"UPDATE analysis_task SET dead = true WHERE {of_category}")
    await world.execute("UPDATE analysis_task SET created_at = now() - interval '1 h' WHERE analyzer = 'quality'")
    await monitored.monitor.read()
    assert monitored.value("analysis_tasks", analyzer="quality", state="pending") == 2
    assert monitored.value("analysis_tasks", analyzer="quality", state="leased") == 2
    assert monitored.value("analysis_tasks", analyzer="quality", state="dead") == 0
    assert (monitored.value("analysis_tasks_oldest_seconds", analyzer="quality") or 0) >= 3600
    assert monitored.value("analysis_tasks", analyzer="category", state="pending") == 3
    assert monitored.value("analysis_tasks", analyzer="category", state="dead") == 1
    await analyzing.expire_leases()
    await monitored.monitor.read()
    assert monitored.value("analysis_tasks", analyzer="quality", state="pending") == 4
    await world.execute("DELETE FROM analysis_task WHERE analyzer = 'category'")
    await monitored.monitor.read()
    assert monitored.value("analysis_tasks", analyzer="category", state="pending") is None


class FailingStates:
    """Reads that fail in the given ways; None: one succeeds."""

    def __init__(self, *failures: Exception | None) -> None:
        self._failures = list(failures)

    async def read(self) -> CatalogState:
        if (failure := self._failures.pop(0)) is not None:
            raise failure
        zero = timedelta()
        queue = ActiveSyncs(
            platform="shopify", pending=7, oldest_pending_age=zero, running=0, unowned=0, longest_unowned=zero
        )
        tasks = AnalysisTasks(analyzer="quality", pending=1, leased=0, dead=0, oldest_age=zero)
        freshness = ShopFreshness(counts=(3, *(0,) * 11), sum_seconds=1.0, never_synced=4)
        return CatalogState(active_syncs=[queue], freshness=freshness, analysis_tasks=[tasks])


@pytest.mark.parametrize("failure", [StorageUnavailable(), QueryTooExpensive()])
async def test_while_the_state_cannot_be_read_its_metrics_have_no_values(
    world: CatalogWorld, failure: Exception
) -> None:
    monitored = Monitored(world, FailingStates(None, failure, None))
    assert monitored.freshness() == {}
    seen = []
    for _ in range(3):
        await monitored.monitor.read()
        never_synced = monitored.value("shops_never_synced")
        assert never_synced is not None
        seen.append(
            (
                monitored.value("syncs_active", platform="shopify", state="pending"),
                monitored.value("analysis_tasks", analyzer="quality", state="pending"),
                monitored.freshness().get("+Inf"),
                None if math.isnan(never_synced) else never_synced,
            )
        )
    assert seen == [(7, 1, 3, 4), (None, None, None, None), (7, 1, 3, 4)]


@pytest.mark.parametrize(("read_seconds", "pause_seconds"), [(0.1, 15), (2, 40), (30, 60)])
async def test_reads_that_take_long_are_made_less_often(
    world: CatalogWorld, read_seconds: float, pause_seconds: float
) -> None:
    times = iter((0.0, read_seconds))
    monitored = Monitored(world, FailingStates(None), monotonic=lambda: next(times))
    assert await monitored.monitor.read() == pause_seconds
