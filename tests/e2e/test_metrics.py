"""The metrics that real processes expose to Prometheus."""

from __future__ import annotations

import asyncio

import aiohttp
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.conftest import free_port
from tests.e2e.small_system import DOMAIN, SHOP, SmallSystem, small_system
from tests.waiting import until_found

FETCH = "catalogsync.connector.v1.ConnectorService/FetchProducts"
WATCH = "catalogsync.catalog.v1.CatalogService/WatchSync"


class Scrape:
    """One reply of /metrics."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def value(self, name: str, **labels: str) -> float:
        """Return the sum of the samples that have these labels."""
        return sum(s.value for s in self._samples if s.name == name and labels.items() <= s.labels.items())


async def scrape(address: str) -> Scrape:
    async with aiohttp.ClientSession() as session, session.get(f"http://{address}/metrics") as reply:
        assert reply.status == 200
        return Scrape(await reply.text())


async def scrape_when_idle(address: str) -> Scrape:
    """Return the metrics once no call and no sync runs: watchers see a sync's end shortly before its run ends."""

    async def idle() -> Scrape | None:
        reply = await scrape(address)
        calls = sum(reply.value("grpc_server_streams_open", grpc_method=method) for method in (FETCH, WATCH))
        running = calls + reply.value("catalog_syncs_running") + reply.value("catalog_watchers")
        return None if running else reply

    return await until_found(idle)


async def add_fault(system: SmallSystem, fault: dict[str, object]) -> None:
    url = f"{system.store}/_control/{DOMAIN}/faults"
    async with aiohttp.ClientSession() as session, session.post(url, json=fault, ssl=False) as reply:
        assert reply.status == 201


async def test_the_metrics_of_both_services_count_a_sync_and_contain_no_shop_and_no_credential() -> None:
    at_connector, at_catalog = (f"127.0.0.1:{free_port()}" for _ in range(2))
    async with small_system(products=300, latency_ms=300) as system:
        await system.start_connector("connector", METRICS_ADDRESS=at_connector)
        await system.start_catalog("catalog", METRICS_ADDRESS=at_catalog)
        throttle = {"kind": "status", "status": 429, "retry_after": 2, "where": "products(", "times": 1}
        await add_fault(system, throttle)
        scrapes: list[tuple[Scrape, Scrape]] = []
        async with system.stub("catalog") as stub, asyncio.timeout(60):
            started = await stub.StartSync(pb.StartSyncRequest(shop=SHOP, mode=pb.Sync.MODE_FULL))
            watch = stub.WatchSync(pb.WatchSyncRequest(sync_id=started.sync.sync_id))
            async for message in watch:
                last = message.sync
                if last.waiting.reason == pb.Waiting.REASON_THROTTLED and not scrapes:
                    scrapes.append((await scrape(at_connector), await scrape(at_catalog)))
        assert last.state == pb.Sync.STATE_SUCCEEDED
        connector, catalog = await scrape_when_idle(at_connector), await scrape_when_idle(at_catalog)
    [(connector_waiting, catalog_waiting)] = scrapes
    assert connector_waiting.value("connector_streams", platform="shopify") == 1
    assert connector_waiting.value("grpc_server_streams_open", grpc_method=FETCH) == 1
    assert catalog_waiting.value("catalog_syncs_running", platform="shopify") == 1
    assert catalog_waiting.value("catalog_syncs_waiting", reason="THROTTLED") == 1
    assert catalog_waiting.value("catalog_watchers") == 1

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
    assert connector.value("grpc_server_streams_ended_total", grpc_method=FETCH, grpc_status="OK") == 1

    assert catalog.value("catalog_items_stored_total", platform="shopify") == system.items
    assert catalog.value("catalog_products_stored_total", platform="shopify") == 300
    assert catalog.value("catalog_batch_seconds_count") == catalog.value("catalog_batches_stored_total") > 0
    ended = {"platform": "shopify", "mode": "FULL", "state": "SUCCEEDED", "reason": ""}
    assert catalog.value("catalog_syncs_ended_total", **ended) == 1
    assert catalog.value("catalog_syncs_claimed_total", platform="shopify") == 1
    for gauge in ("catalog_syncs_running", "catalog_syncs_waiting", "catalog_watchers"):
        assert catalog.value(gauge) == 0
    assert catalog.value("catalog_database_up") == 1
    assert catalog.value("grpc_server_streams_ended_total", grpc_method=WATCH, grpc_status="OK") == 1
    for reply in (connector, catalog):
        assert DOMAIN not in reply.text
        assert "shpat_" not in reply.text
        assert reply.value("process_resident_memory_bytes") > 0


async def test_a_takeover_is_counted_by_the_replica_that_took_over() -> None:
    addresses = {name: f"127.0.0.1:{free_port()}" for name in ("one", "two")}
    async with small_system(products=1000, latency_ms=500) as system:
        await system.start_connector("connector")
        for name, address in addresses.items():
            await system.start_catalog(name, METRICS_ADDRESS=address)
        async with system.stub("one") as stub, asyncio.timeout(60):
            started = await stub.StartSync(pb.StartSyncRequest(shop=SHOP, mode=pb.Sync.MODE_FULL))
            async for message in stub.WatchSync(pb.WatchSyncRequest(sync_id=started.sync.sync_id)):
                if message.sync.progress.items.seen_count:
                    break
        [owner] = [n for n, a in addresses.items() if (await scrape(a)).value("catalog_syncs_running")]
        [other] = addresses.keys() - {owner}
        assert (await scrape(addresses[owner])).value("catalog_syncs_claimed_total") == 1
        assert (await scrape(addresses[other])).value("catalog_syncs_claimed_total") == 0
        system.processes.kill_one(owner)
        async with system.stub(other) as stub, asyncio.timeout(60):
            async for message in stub.WatchSync(pb.WatchSyncRequest(sync_id=started.sync.sync_id)):
                last = message.sync
        assert last.state == pb.Sync.STATE_SUCCEEDED
        counted = await scrape_when_idle(addresses[other])
    assert counted.value("catalog_syncs_taken_over_total") == 1
    assert counted.value("catalog_syncs_claimed_total") == 0
    assert counted.value("catalog_syncs_ended_total", state="SUCCEEDED") == 1
