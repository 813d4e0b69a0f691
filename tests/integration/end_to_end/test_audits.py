"""Audits of a devstore through the real connector: drift is exactly what was falsified, also beside a sync."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random

import grpc
import pytest
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from catalogsync_common.channel import open_channel
from catalogsync_common.settings import ListenAddress
from catalogsync_common.status import read_failure_now
from pydantic import SecretStr

from catalog_svc import bootstrap
from catalog_svc.domain.audit import AuditResult, DifferenceCause
from catalog_svc.domain.shop import ShopKey
from catalog_svc.domain.sync import SyncMode
from catalog_svc.metrics import NullAuditMetrics
from catalog_svc.settings import CatalogSettings
from catalog_svc.storage.audit_records import AuditRecordStore, audit_lease
from catalog_svc.storage.audits import AuditStore
from catalog_svc.storage.database import Database
from catalog_svc.usecases.audit_run import AuditDependencies, AuditRun
from devstore.churn import CatalogMutator
from tests.integration.catalog_svc.falsification import falsify
from tests.integration.end_to_end.conftest import EndToEnd, Opens
from tests.pgbouncer import is_pooled
from tests.waiting import until_found

PLATFORMS = ("shopify", "woocommerce-10.3", "bigcommerce", "feed")
DATED_PLATFORMS = ("shopify", "woocommerce-10.3", "bigcommerce")
PRODUCTS = 300
FALSIFIED = 3
"""One percent."""


async def audit(shop: EndToEnd, *, size: int = 1_000, overlap: timedelta = timedelta()) -> AuditResult:
    """Audit the shop as a replica does."""
    database = Database(shop.engine)
    dependencies = AuditDependencies(
        catalog=AuditStore(database, ttl=timedelta(minutes=2)),
        records=AuditRecordStore(database),
        new_right=partial(audit_lease, database),
        source=shop.connector,
        metrics=NullAuditMetrics(),
        overlap=overlap,
    )
    found = await shop.world.shops.find(ShopKey(shop.platform, shop.domain))
    assert found is not None
    return await AuditRun(dependencies).run(found, sample_size=size)


@asynccontextmanager
async def catalog(shop: EndToEnd, database_url: str) -> AsyncIterator[CatalogServiceStub]:
    """Run a catalog over the database and the connector of this shop."""
    settings = CatalogSettings(
        database_url=SecretStr(database_url),
        database_pooled=is_pooled(database_url),
        listen_address=ListenAddress("127.0.0.1:0"),
        connector_address=shop.connector_address,
        settle_delay=timedelta(0),
        stop_grace=timedelta(0),
    )
    async with bootstrap.running(settings) as port, open_channel(f"127.0.0.1:{port}") as channel:
        yield CatalogServiceStub(channel)


def yesterday() -> datetime:
    return (datetime.now(UTC) - timedelta(days=1)).replace(microsecond=0)


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_an_audit_of_all_products_finds_exactly_the_falsified_ones_and_repairs_them(
    opens: Opens, platform: str
) -> None:
    async with opens(platform, products=PRODUCTS) as shop:
        await shop.succeed()
        before = await shop.tables()
        falsified = await falsify(shop.world, Random(platform), products=FALSIFIED)
        assert await shop.tables() != before
        result = await audit(shop)
        assert {d.product_id for d in result.differences} == falsified
        assert {d.cause for d in result.differences} == {DifferenceCause.DRIFT}
        assert (result.drifted, result.repaired, result.behind, result.undated) == (FALSIFIED, FALSIFIED, 0, 0)
        assert result.undecided == 0
        assert await shop.tables() == before
        assert (await audit(shop)).different == 0
        await shop.check_items()


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_after_incremental_syncs_with_changes_there_is_no_difference(opens: Opens, platform: str) -> None:
    """Stock and prices were then stored without their products, and products read by other queries."""
    async with opens(platform, products=100, edge_cases=False) as shop:
        await shop.succeed()
        mutator = CatalogMutator([shop.catalog], Random(platform))
        for _ in range(3):
            for _ in range(20):
                mutator.change()
            mode = SyncMode.FULL if platform == "feed" else SyncMode.INCREMENTAL
            await shop.succeed(mode)
            result = await audit(shop)
            assert result.different == 0, result.differences
            assert result.undecided == 0


@pytest.mark.parametrize("platform", DATED_PLATFORMS)
async def test_changes_after_the_last_sync_are_never_called_drift(opens: Opens, platform: str) -> None:
    async with opens(platform, products=100, edge_cases=False) as shop:
        await shop.succeed()
        mutator = CatalogMutator([shop.catalog], Random(platform))
        for _ in range(30):
            mutator.change()
        result = await audit(shop)
        assert result.drifted == 0, result.differences
        assert result.different > 10
        assert result.repaired == result.different
        # What was added on the platform is not known before a sync.
        assert (await audit(shop)).different == 0


@pytest.mark.parametrize("platform", DATED_PLATFORMS)
async def test_beside_running_syncs_and_changes_no_audit_reports_drift(opens: Opens, platform: str) -> None:
    """`make audit-trials` repeats this a hundred times."""
    async with opens(platform, products=120) as shop:
        await shop.succeed()
        mutator = CatalogMutator([shop.catalog], Random(platform))
        changing = asyncio.create_task(mutator.run(0.01))
        syncs = asyncio.create_task(_sync_three_times(shop))
        checked = 0
        while not syncs.done():
            result = await audit(shop, size=60)
            assert result.drifted == 0, result.differences
            checked += result.products_checked
        await syncs
        mutator.stop()
        await changing
        assert checked > 60


async def _sync_three_times(shop: EndToEnd) -> None:
    for mode in (SyncMode.INCREMENTAL, SyncMode.FULL, SyncMode.INCREMENTAL):
        await shop.sync(mode, batch_size=10)


async def test_verify_catalog_streams_progress_and_the_result_and_the_status_has_it(
    opens: Opens, database_url: str
) -> None:
    async with opens("shopify", products=150, edge_cases=False) as shop:
        await shop.succeed()
        falsified = await falsify(shop.world, Random(1), products=2)
        ref = pb.ShopRef(platform=shop.platform, domain=shop.domain)
        async with catalog(shop, database_url) as stub:
            request = pb.VerifyCatalogRequest(shop=ref, sample_size=1_000)
            messages = [message async for message in stub.VerifyCatalog(request)]
            assert [message.WhichOneof("event") for message in messages[:-1]] == ["progress"] * (len(messages) - 1)
            assert len(messages) > 1
            result = messages[-1].audit
            assert (result.checked_product_count, result.drifted_product_count) == (150, 2)
            assert result.repaired_product_count == 2
            assert {difference.product_id for difference in result.differences} == falsified
            status = await stub.GetStatus(pb.GetStatusRequest(shop=ref))
            assert status.last_audit.drifted_product_count == 2
            assert status.last_audit.checked_product_count == 150
        await shop.check_items()


async def test_rows_of_products_that_are_gone_come_back_by_the_requested_full_sync(
    opens: Opens, database_url: str
) -> None:
    async with opens("shopify", products=20, edge_cases=False) as shop:
        await shop.succeed()
        before = await shop.tables()
        gone = str(next(iter(shop.catalog.rows())).id)
        await shop.world.execute("DELETE FROM item WHERE product_id = :id", id=gone)
        await shop.world.execute("DELETE FROM product WHERE product_id = :id", id=gone)
        ref = pb.ShopRef(platform=shop.platform, domain=shop.domain)
        async with catalog(shop, database_url) as stub:
            messages = [m async for m in stub.VerifyCatalog(pb.VerifyCatalogRequest(shop=ref))]
            assert messages[-1].audit.missing_row_count == 1

            async def stored_again() -> bool | None:
                return await shop.tables() == before or None

            await until_found(stored_again)
            status = await stub.GetStatus(pb.GetStatusRequest(shop=ref))
            assert status.product_count == 20


async def test_a_client_that_ends_the_stream_ends_the_audit_and_errors_name_the_field(
    opens: Opens, database_url: str
) -> None:
    async with opens("shopify", products=5, edge_cases=False, latency=0.5) as shop:
        await shop.succeed()
        ref = pb.ShopRef(platform=shop.platform, domain=shop.domain)
        async with catalog(shop, database_url) as stub:
            call = stub.VerifyCatalog(pb.VerifyCatalogRequest(shop=ref))
            await call.read()

            async def claimed() -> bool | None:
                return bool(await shop.world.rows("SELECT 1 FROM loop_lease")) or None

            await until_found(claimed)
            second = stub.VerifyCatalog(pb.VerifyCatalogRequest(shop=ref))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                _ = [message async for message in second]
            assert caught.value.code() is grpc.StatusCode.ABORTED
            assert read_failure_now(caught.value).reason == "AUDIT_ALREADY_RUNNING"
            call.cancel()

            async def released() -> bool | None:
                return not await shop.world.rows("SELECT 1 FROM loop_lease WHERE name LIKE 'audit of%'") or None

            await until_found(released)
            for size in (-1, 1_001):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await stub.VerifyCatalog(pb.VerifyCatalogRequest(shop=ref, sample_size=size)).read()
                assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
                assert [v.field for v in read_failure_now(caught.value).violations] == ["sample_size"]
