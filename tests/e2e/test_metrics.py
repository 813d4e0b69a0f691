"""What Prometheus scrapes from real processes."""

from __future__ import annotations

import asyncio

import aiohttp
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.conftest import free_port
from tests.e2e.small_system import DOMAIN, SHOP, SmallSystem, small_system
from tests.waiting import until_found

FETCH = "/catalogsync.connector.v1.ConnectorService/FetchProducts"
WATCH = "/catalogsync.catalog.v1.CatalogService/WatchSync"


class Scrape:
    """One answer of /metrics."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def value(self, name: str, **labels: str) -> float:
        """The sum of the samples that have these labels."""
        found = [s.value for s in self._samples if s.name == name and labels.items() <= s.labels.items()]
        return sum(found)


async def scrape(address: str) -> Scrape:
    async with aiohttp.ClientSession() as session, session.get(f"http://{address}/metrics") as reply:
        assert reply.status == 200
        return Scrape(await reply.text())


async def scrape_at_rest(address: str) -> Scrape:
    """Once nothing runs there any more: a watcher hears of the end a moment before the run is over."""

    async def rested() -> Scrape | None:
        seen = await scrape(address)
        calls = sum(seen.value("grpc_calls_running", method=method) for method in (FETCH, WATCH))
        return None if calls + seen.value("catalog_syncs_running") + seen.value("catalog_watchers") else seen

    return await until_found(rested)


async def add_fault(system: SmallSystem, fault: dict[str, object]) -> None:
    url = f"{system.store}/_control/{DOMAIN}/faults"
    async with aiohttp.ClientSession() as session, session.post(url, json=fault, ssl=False) as reply:
        assert reply.status == 201


async def test_a_sync_is_counted_from_the_shop_to_the_table_and_nobody_is_named() -> None:
    at_connector, at_catalog = (f"127.0.0.1:{free_port()}" for _ in range(2))
    async with small_system(products=300, latency_ms=300) as system:
        await system.start_connector("connector", METRICS_ADDRESS=at_connector)
        await system.start_catalog("catalog", METRICS_ADDRESS=at_catalog)
        throttle = {"kind": "status", "status": 429, "retry_after": 2, "where": "products(", "times": 1}
        await add_fault(system, throttle)
        during: list[tuple[Scrape, Scrape]] = []
        async with system.stub("catalog") as stub, asyncio.timeout(60):
            started = await stub.StartSync(pb.StartSyncRequest(shop=SHOP, mode=pb.Sync.MODE_FULL))
            watch = stub.WatchSync(pb.WatchSyncRequest(sync_id=started.sync.sync_id))
            async for message in watch:
                last = message.sync
                if last.waiting.reason == pb.Waiting.REASON_THROTTLED and not during:
                    during.append((await scrape(at_connector), await scrape(at_catalog)))
        assert last.state == pb.Sync.STATE_SUCCEEDED
        connector, catalog = await scrape_at_rest(at_connector), await scrape_at_rest(at_catalog)
    [(connector_then, catalog_then)] = during
    assert connector_then.value("connector_streams", platform="shopify") == 1
    assert connector_then.value("grpc_calls_running", method=FETCH) == 1
    assert catalog_then.value("catalog_syncs_running", platform="shopify") == 1
    assert catalog_then.value("catalog_syncs_waiting", reason="THROTTLED") == 1
    assert catalog_then.value("catalog_watchers") == 1

    shop = {"platform": "shopify", "host_class": "shop"}
    assert connector.value("connector_streams") == 0
    assert connector.value("connector_items_total", platform="shopify") == system.items
    assert connector.value("connector_products_total", platform="shopify") == 300
    assert connector.value("connector_passes_complete_total", platform="shopify") == 1
    assert connector.value("connector_http_requests_total", **shop, outcome="429") == 1
    assert connector.value("connector_http_requests_total", **shop, outcome="2xx") > 2
    assert connector.value("connector_http_retries_total", **shop) == 1
    assert connector.value("connector_http_waits_total", **shop, reason="throttled") == 1
    assert 2 <= connector.value("connector_http_wait_seconds_total", **shop, reason="throttled") < 3
    requests = connector.value("connector_http_requests_total")
    assert connector.value("connector_http_request_seconds_count", **shop) == requests
    assert connector.value("grpc_calls_total", method=FETCH, code="OK") == 1

    assert catalog.value("catalog_items_stored_total", platform="shopify") == system.items
    assert catalog.value("catalog_products_stored_total", platform="shopify") == 300
    assert catalog.value("catalog_batch_seconds_count") == catalog.value("catalog_batches_stored_total") > 0
    ended = {"platform": "shopify", "mode": "FULL", "state": "SUCCEEDED", "reason": ""}
    assert catalog.value("catalog_syncs_ended_total", **ended) == 1
    assert catalog.value("catalog_syncs_claimed_total", platform="shopify") == 1
    for gauge in ("catalog_syncs_running", "catalog_syncs_waiting", "catalog_watchers"):
        assert catalog.value(gauge) == 0
    assert catalog.value("catalog_database_up") == 1
    assert catalog.value("grpc_calls_total", method=WATCH, code="OK") == 1
    for answer in (connector, catalog):
        assert DOMAIN not in answer.text
        assert "shpat_" not in answer.text
        assert answer.value("process_resident_memory_bytes") > 0


async def test_a_takeover_is_counted_by_whoever_took_over() -> None:
    at = {name: f"127.0.0.1:{free_port()}" for name in ("one", "two")}
    async with small_system(products=1000, latency_ms=500) as system:
        await system.start_connector("connector")
        for name, address in at.items():
            await system.start_catalog(name, METRICS_ADDRESS=address)
        async with system.stub("one") as stub, asyncio.timeout(60):
            started = await stub.StartSync(pb.StartSyncRequest(shop=SHOP, mode=pb.Sync.MODE_FULL))
            async for message in stub.WatchSync(pb.WatchSyncRequest(sync_id=started.sync.sync_id)):
                if message.sync.progress.items.seen_count:
                    break
        [runs] = [n for n, a in at.items() if (await scrape(a)).value("catalog_syncs_running")]
        [survives] = at.keys() - {runs}
        assert (await scrape(at[runs])).value("catalog_syncs_claimed_total") == 1
        assert (await scrape(at[survives])).value("catalog_syncs_claimed_total") == 0
        system.family.kill_one(runs)
        async with system.stub(survives) as stub, asyncio.timeout(60):
            async for message in stub.WatchSync(pb.WatchSyncRequest(sync_id=started.sync.sync_id)):
                last = message.sync
        assert last.state == pb.Sync.STATE_SUCCEEDED
        counted = await scrape_at_rest(at[survives])
    assert counted.value("catalog_syncs_taken_over_total", platform="shopify") == 1
    assert counted.value("catalog_syncs_claimed_total") == 0
    assert counted.value("catalog_syncs_ended_total", state="SUCCEEDED") == 1
