"""Repeated audits of a running catalog: how often they find falsified products, and that no alarm is false.

`make audit-trials` makes a hundred of each; the tests make a few.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from random import Random

import grpc
import pytest
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from catalogsync_common.channel import open_channel
from catalogsync_common.settings import ListenAddress
from pydantic import SecretStr

from catalog_svc import bootstrap
from catalog_svc.settings import CatalogSettings
from devstore.churn import CatalogMutator
from tests.integration.catalog_svc.falsification import falsify
from tests.integration.end_to_end.conftest import EndToEnd, Opens
from tests.pgbouncer import is_pooled

TRIALS = int(os.environ.get("CATALOGSYNC_AUDIT_TRIALS", "3"))
pytestmark = pytest.mark.timeout(300 + 30 * TRIALS)
SAMPLE = 300
PRODUCTS = 2_000
FALSIFIED = PRODUCTS // 100
CHANGE_INTERVAL_SECONDS = 0.02


class Verified:
    """A running catalog without overlap: it claims to know each change a second after its syncs."""

    def __init__(self, shop: EndToEnd, stub: CatalogServiceStub) -> None:
        self.ref = pb.ShopRef(platform=shop.platform, domain=shop.domain)
        self._stub = stub

    async def verify(self, sample_size: int) -> pb.CatalogAudit:
        """Return the result of an audit."""
        request = pb.VerifyCatalogRequest(shop=self.ref, sample_size=sample_size)
        messages = [message async for message in self._stub.VerifyCatalog(request)]
        return messages[-1].audit

    async def sync(self, mode: pb.Sync.Mode.ValueType) -> pb.Sync:
        """Run a sync to its end, however it ends."""
        started = await self._stub.StartSync(pb.StartSyncRequest(shop=self.ref, mode=mode))
        last = started.sync
        async for message in self._stub.WatchSync(pb.WatchSyncRequest(sync_id=last.sync_id)):
            last = message.sync
        return last


@asynccontextmanager
async def running(shop: EndToEnd, database_url: str) -> AsyncIterator[Verified]:
    """Run a catalog over the database and the connector of this shop."""
    settings = CatalogSettings(
        database_url=SecretStr(database_url),
        database_pooled=is_pooled(database_url),
        listen_address=ListenAddress("127.0.0.1:0"),
        connector_address=shop.connector_address,
        incremental_overlap=timedelta(0),
        start_sync_interval=timedelta(0),
        settle_delay=timedelta(0),
        stop_grace=timedelta(0),
    )
    async with bootstrap.running(settings) as port, open_channel(f"127.0.0.1:{port}") as channel:
        yield Verified(shop, CatalogServiceStub(channel))


async def test_300_samples_find_one_percent_of_falsified_products(opens: Opens, database_url: str) -> None:
    """Of 2,000 products with 20 falsified, 300 meet one with a probability of 96.2 %."""
    random, met = Random(5), 0
    async with opens("shopify", products=PRODUCTS, edge_cases=False) as shop:
        await shop.succeed()
        async with running(shop, database_url) as catalog:
            falsified: set[str] = set()
            for _ in range(TRIALS):
                falsified |= await falsify(
                    shop.world, random, products=FALSIFIED - len(falsified), without=falsified, counted=False
                )
                # Those of the last hour would be found whatever the sample is.
                await shop.world.execute("UPDATE item SET updated_at = updated_at - interval '2 hours'")
                audit = await catalog.verify(SAMPLE)
                found = {difference.product_id for difference in audit.differences}
                assert found <= falsified
                assert audit.drifted_product_count == audit.repaired_product_count == len(found)
                falsified -= found
                met += bool(found)
    print(f"RESULT audits that found drift: {met} of {TRIALS}")
    # Three standard deviations below the mean; of a hundred, 90.
    assert met >= 0.962 * TRIALS - 3 * (0.962 * 0.038 * TRIALS) ** 0.5


@pytest.mark.parametrize("platform", ["shopify", "woocommerce-10.3", "bigcommerce"])
async def test_beside_syncs_and_changes_no_audit_of_a_running_catalog_reports_drift(
    opens: Opens, database_url: str, platform: str
) -> None:
    async with opens(platform, products=150, edge_cases=False) as shop:
        await shop.succeed()
        async with running(shop, database_url) as catalog:
            mutator = CatalogMutator([shop.catalog], Random(platform))
            changing = asyncio.create_task(mutator.run(CHANGE_INTERVAL_SECONDS))
            syncing = asyncio.create_task(_sync_until_cancelled(catalog))
            try:
                audits = []
                for _ in range(TRIALS):
                    audits.append(await catalog.verify(80))
            finally:
                mutator.stop()
                syncing.cancel()
                await asyncio.gather(changing, syncing, return_exceptions=True)
    checked = sum(audit.checked_product_count for audit in audits)
    different = sum(audit.behind_product_count + audit.undated_product_count for audit in audits)
    undecided = sum(audit.undecided_product_count for audit in audits)
    drifted = [audit.differences for audit in audits if audit.drifted_product_count]
    for number, audit in enumerate(audits):
        for d in audit.differences:
            if d.cause == pb.AuditDifference.CAUSE_DRIFT:
                print("DRIFT", number, str(d).replace("\n", " "))
    print(
        f"RESULT {platform}: {len(drifted)} false alarms in {TRIALS} audits beside syncs of {checked} products, "
        f"of which {different} had changed since they were read, and {undecided} could not be compared"
    )
    assert drifted == []
    assert checked > 40 * TRIALS


async def _sync_until_cancelled(catalog: Verified) -> None:
    modes = (pb.Sync.MODE_INCREMENTAL, pb.Sync.MODE_FULL)
    number = 0
    while True:
        with suppress(grpc.aio.AioRpcError):
            await catalog.sync(modes[number % 2])
        number += 1
