"""Traces of the real processes, as a collector receives them: one trace from the BFF to the batch transaction."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from uuid import uuid4

import pytest
from catalogsync.catalog.v1 import catalog_service_pb2 as pb

from tests.bff_client import API, BffClient
from tests.e2e.bff_system import BffSystem, bff_system
from tests.e2e.small_system import DOMAIN, SHOP, SmallSystem, small_system
from tests.otlp_collector import CollectedSpan, Collector, running_collector
from tests.waiting import until

START = "catalogsync.catalog.v1.CatalogService/StartSync"
FETCH = "catalogsync.connector.v1.ConnectorService/FetchProducts"
STORE = "BatchStore.apply"
PROCESS = "process sync_queue"
BROWSER = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")


@dataclass(frozen=True, kw_only=True)
class TracedSystem:
    """A BFF system that exports its spans."""

    system: BffSystem
    collector: Collector


@pytest.fixture(scope="module")
async def traced() -> AsyncIterator[TracedSystem]:
    async with running_collector() as collector:
        common = {"TRACE_ENDPOINT": collector.endpoint}
        async with bff_system(products=30, common=common) as system:
            yield TracedSystem(system=system, collector=collector)


async def start_sync(browser: BffClient, **headers: str) -> str:
    answer = await browser.post("/sync", json={"platform": "shopify", "domain": DOMAIN}, headers=headers)
    assert answer.status == 201, answer.body
    sync_id: str = answer.data["sync_id"]
    return sync_id


def ancestors(span: CollectedSpan, spans: Iterable[CollectedSpan]) -> list[CollectedSpan]:
    """Return the span and the spans above it, as far as they are among `spans`."""
    by_id = {each.span_id: each for each in spans}
    found = [span]
    while (parent := by_id.get(found[-1].parent_id)) is not None:
        found.append(parent)
    return found


async def spans_of_sync(collector: Collector, correlation_id: str) -> list[CollectedSpan]:
    """Return all spans of a sync that has ended, once its services have exported them."""
    return await collector.wait_for(
        ("catalog_svc", START), ("catalog_svc", PROCESS), ("connector_svc", FETCH), correlation_id=correlation_id
    )


async def test_one_trace_leads_from_the_browser_to_the_batch_transaction(traced: TracedSystem) -> None:
    correlation_id, (trace_id, browser_span) = f"c-{uuid4().hex}", BROWSER
    async with traced.system.browser() as browser:
        sync_id = await start_sync(
            browser,
            **{"X-Correlation-ID": correlation_id, "traceparent": f"00-{trace_id}-{browser_span}-01"},
        )
        async with browser.stream(f"/sync/{sync_id}/events") as stream:
            assert (await stream.rest())[-1].content["state"] == "SUCCEEDED"
    await spans_of_sync(traced.collector, correlation_id)
    spans = await traced.collector.wait_for(("bff", f"POST {API}/sync"), correlation_id=correlation_id)
    assert {span.trace_id for span in spans} == {trace_id}
    batch = next(span for span in spans if span.operation == STORE)
    path = ancestors(batch, spans)
    assert [(span.service, span.kind, span.operation) for span in path] == [
        ("catalog_svc", "CLIENT", STORE),
        ("catalog_svc", "CONSUMER", PROCESS),
        ("catalog_svc", "SERVER", START),
        ("bff", "CLIENT", START),
        ("bff", "SERVER", f"POST {API}/sync"),
    ]
    assert path[-1].parent_id == browser_span
    process = path[1]
    assert process.links == (path[2].span_id,)
    request = next(span for span in spans if "http.request.method" in span.attributes and span.kind == "CLIENT")
    assert [(span.service, span.kind, span.operation) for span in ancestors(request, spans)[:4]] == [
        ("connector_svc", "CLIENT", "POST"),
        ("connector_svc", "SERVER", FETCH),
        ("catalog_svc", "CLIENT", FETCH),
        ("catalog_svc", "CONSUMER", PROCESS),
    ]
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["server.address"] == "127.0.0.1"
    assert process.attributes["messaging.message.id"] == sync_id
    assert process.attributes["messaging.message.conversation_id"] == correlation_id
    assert batch.attributes["db.system.name"] == "postgresql"
    assert not any(span.is_error for span in spans)


async def test_spans_hold_no_secret_no_query_and_no_statement(traced: TracedSystem) -> None:
    correlation_id = f"c-{uuid4().hex}"
    async with traced.system.browser() as browser:
        await start_sync(browser, **{"X-Correlation-ID": correlation_id})
        await browser.get("/shops?page_size=7", headers={"X-Correlation-ID": f"{correlation_id}.q"})
        cookie = browser.cookie.partition("=")[2]
    await spans_of_sync(traced.collector, correlation_id)
    await traced.collector.wait_for(("bff", f"GET {API}/shops"), correlation_id=f"{correlation_id}.q")
    received = bytes(traced.collector.raw)
    secrets = [traced.system.small.access_token, cookie]
    secrets += [value for name, value in traced.system.settings.items() if "SECRET" in name or "KEY" in name]
    assert len(secrets) > 4
    for secret in secrets:
        assert secret.partition(":")[2].encode() not in received or ":" not in secret
        assert secret.encode() not in received
    for span in traced.collector.spans:
        for value in span.attributes.values():
            assert not re.search(r"\?|page_size|SELECT|INSERT|m-a", str(value)), (span.name, span.attributes)


async def test_the_span_of_an_event_stream_ends_while_the_stream_is_open(traced: TracedSystem) -> None:
    correlation_id = f"c-{uuid4().hex}"
    headers = {"X-Correlation-ID": correlation_id}
    async with traced.system.browser() as browser, browser.stream("/events", headers=headers):
        spans = await traced.collector.wait_for(("bff", f"GET {API}/events"), correlation_id=correlation_id)
    assert next(span for span in spans if span.kind == "SERVER").attributes["http.response.status_code"] == 200


async def test_the_access_logs_name_the_trace(traced: TracedSystem) -> None:
    correlation_id = f"c-{uuid4().hex}"
    async with traced.system.browser() as browser:
        await browser.get("/shops", headers={"X-Correlation-ID": correlation_id})
    spans = await traced.collector.wait_for(("bff", f"GET {API}/shops"), correlation_id=correlation_id)
    (trace_id,) = {span.trace_id for span in spans}
    for service in ("bff", "catalog"):
        text = (traced.system.small.directory / "logs" / f"{service}.log").read_text()
        lines = [line for line in text.splitlines() if correlation_id in line]
        assert lines
        assert all(trace_id in line for line in lines), lines


async def test_a_signal_changes_the_log_level_of_every_process(traced: TracedSystem) -> None:
    small = traced.system.small
    logs = {name: small.directory / "logs" / f"{name}.log" for name in ("bff", "catalog", "connector")}
    for name in logs:
        os.kill(small.processes.pids[name], signal.SIGUSR1)
    await until(lambda: all("the log level is DEBUG" in log.read_text() for log in logs.values()))
    for name in logs:
        os.kill(small.processes.pids[name], signal.SIGUSR2)
    await until(lambda: all("the log level is INFO" in log.read_text() for log in logs.values()))


@pytest.fixture
async def small() -> AsyncIterator[SmallSystem]:
    async with small_system(products=5, latency_ms=0) as system:
        yield system


async def test_a_caller_that_is_not_sampled_is_not_traced(small: SmallSystem) -> None:
    """The sampler is that of the caller: half a trace is of no use."""
    async with running_collector() as collector:
        await small.start_connector("connector", TRACE_ENDPOINT=collector.endpoint)
        await small.start_catalog("catalog", TRACE_ENDPOINT=collector.endpoint, TRACE_SAMPLE_RATIO="0")
        async with small.stub("catalog") as stub:
            for flags, correlation_id in (("00", "unsampled"), ("01", "sampled")):
                metadata = (
                    ("traceparent", f"00-{uuid4().hex}-{uuid4().hex[:16]}-{flags}"),
                    ("x-correlation-id", correlation_id),
                )
                started = await stub.StartSync(pb.StartSyncRequest(shop=SHOP), metadata=metadata)
                watch = pb.WatchSyncRequest(sync_id=started.sync.sync_id)
                assert [message async for message in stub.WatchSync(watch)]
        await spans_of_sync(collector, "sampled")
        assert {span.attributes["catalogsync.correlation_id"] for span in collector.spans} == {"sampled"}
