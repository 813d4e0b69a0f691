"""`python -m connector_svc` as an operator runs it, with shops of the devstore over TLS."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from aiohttp import web
from catalogsync.connector.v1 import connector_service_pb2 as pb
from catalogsync.connector.v1.connector_service_pb2_grpc import ConnectorServiceStub
from catalogsync_common.channel import open_channel
from catalogsync_common.status import read_failure

from devstore.catalog.model import Platform
from devstore.server import RunningStore, serving
from devstore.spec import ShopSpec
from tests.fakes.shop_server import serving as serving_token_service
from tests.otlp_collector import SilentCollector, running_collector
from tests.waiting import TIMEOUT_SECONDS, until

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
REPOSITORY = Path(__file__).parents[3]
SHOPIFY = ShopSpec(platform=Platform.SHOPIFY, domain="demo.myshopify.com", products=40)
WOO = ShopSpec(platform=Platform.WOOCOMMERCE, domain="store.example", products=50)
SECRETS = [*SHOPIFY.credentials.values(), *WOO.credentials.values(), "t0ken-service-secret"]


@dataclass(slots=True)
class Connector:
    """A running process."""

    process: Process
    stub: ConnectorServiceStub
    log: list[str] = field(default_factory=list)

    async def stop(self) -> int:
        """Stop the process with SIGTERM; return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return await self.process.wait()


def environment(**settings: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CONNECTOR_")}
    return {**inherited, **{f"CONNECTOR_{name}": value for name, value in settings.items()}}


async def start(scratch: Path, **settings: str) -> Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "connector_svc"),
        cwd=scratch,
        env={**environment(**settings), "PYTHONPATH": str(REPOSITORY)},
        stderr=PIPE,
    )


@asynccontextmanager
async def running(scratch: Path, **settings: str) -> AsyncIterator[Connector]:
    process = await start(scratch, LISTEN_ADDRESS="127.0.0.1:0", LOG_LEVEL="DEBUG", **settings)
    log: list[str] = []
    port = asyncio.get_running_loop().create_future()
    reading = asyncio.create_task(read_log(process, log, port))
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            channel = open_channel(f"127.0.0.1:{await port}")
        async with channel:
            yield Connector(process, ConnectorServiceStub(channel), log)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading


async def read_log(process: Process, log: list[str], port: asyncio.Future[int]) -> None:
    assert process.stderr is not None
    async for raw in process.stderr:
        log.append(raw.decode())
        listening = re.search(r"listening on port (\d+)", log[-1])
        if listening and not port.done():
            port.set_result(int(listening[1]))
    if not port.done():
        port.set_exception(AssertionError("".join(log)))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[RunningStore]:
    async with serving([SHOPIFY, WOO], tls_dir=tmp_path / "tls", throttle=False) as running_store:
        yield running_store


def settings_for(store: RunningStore) -> dict[str, str]:
    overrides = {spec.domain: store.base_url(spec.domain) for spec in (SHOPIFY, WOO)}
    return {"ENDPOINT_OVERRIDES": json.dumps(overrides), "CA_FILE": str(store.ca_file)}


def write_credentials(path: Path, *specs: ShopSpec) -> str:
    lines: list[str] = []
    for spec in specs:
        lines.append(f'[{spec.platform.value}."{spec.domain}"]')
        lines += [f'{name} = "{value}"' for name, value in spec.credentials.items()]
    path.write_text("\n".join(lines))
    path.chmod(0o600)
    return str(path)


def reference(spec: ShopSpec) -> pb.ShopRef:
    return pb.ShopRef(platform=spec.platform.value, domain=spec.domain)


async def fetch(connector: Connector, spec: ShopSpec) -> tuple[int, int, pb.FetchEnd]:
    """Return the number of products, of items, and the end of a whole stream."""
    products = items = 0
    call = connector.stub.FetchProducts(pb.FetchProductsRequest(shop=reference(spec)))
    async for message in call:
        products += len(message.batch.products)
        items += sum(len(product.variants) for product in message.batch.products)
    assert message.HasField("end")
    return products, items, message.end


async def test_both_platforms_are_read_whole_with_the_documented_settings(
    store: RunningStore, tmp_path: Path
) -> None:
    credentials = write_credentials(tmp_path / "credentials.toml", SHOPIFY, WOO)
    async with running(tmp_path, CREDENTIALS_FILE=credentials, **settings_for(store)) as connector:
        for spec in (SHOPIFY, WOO):
            catalog = store.catalog(spec.domain)
            products, items, end = await fetch(connector, spec)
            info = await connector.stub.CheckShop(pb.CheckShopRequest(shop=reference(spec)))
            stored = [product for product in catalog.products() if product.status != "trash"]
            assert products == end.source_count == end.emitted_count == info.product_count == len(stored)
            assert items == end.emitted_variant_count >= catalog.item_count
        assert await connector.stop() == 0
    assert_no_secret(connector.log)


async def test_the_token_service_is_asked_for_shops_that_are_not_in_the_file(
    store: RunningStore, tmp_path: Path
) -> None:
    async def tokens(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != "Bearer t0ken-service-secret":
            return web.Response(status=401)
        if request.path != f"/api/v1/tokens/woocommerce/{WOO.domain}":
            return web.Response(status=404)
        return web.json_response({"data": WOO.credentials})

    credentials = write_credentials(tmp_path / "credentials.toml", SHOPIFY)
    async with serving_token_service() as service:
        service.answers(tokens)
        settings: Mapping[str, str] = {
            **settings_for(store),
            "CREDENTIALS_FILE": credentials,
            "TOKEN_SERVICE_URL": service.url,
            "TOKEN_SERVICE_SECRET": "t0ken-service-secret",
        }
        async with running(tmp_path, **settings) as connector:
            for spec in (SHOPIFY, WOO):
                await connector.stub.CheckShop(pb.CheckShopRequest(shop=reference(spec)))
            unknown = pb.ShopRef(platform="shopify", domain="unknown.myshopify.com")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await connector.stub.CheckShop(pb.CheckShopRequest(shop=unknown))
        assert [request.path for request in service.requests] == [
            f"/api/v1/tokens/woocommerce/{WOO.domain}",
            "/api/v1/tokens/shopify/unknown.myshopify.com",
        ]
    failure = await read_failure(caught.value)
    assert (failure.reason, failure.code) == ("CREDENTIALS_NOT_FOUND", grpc.StatusCode.FAILED_PRECONDITION)
    assert_no_secret([*connector.log, failure.message])


async def test_the_correlation_id_of_a_call_is_sent_to_the_shop(store: RunningStore, tmp_path: Path) -> None:
    seen: list[str] = []

    async def look(request: web.Request) -> None:
        seen.append(request.headers.get("x-correlation-id", ""))

    store.add_fault(WOO.domain, look)
    credentials = write_credentials(tmp_path / "credentials.toml", WOO)
    async with running(tmp_path, CREDENTIALS_FILE=credentials, **settings_for(store)) as connector:
        request = pb.FetchProductsRequest(shop=reference(WOO))
        call = connector.stub.FetchProducts(request, metadata=(("x-correlation-id", "follow-me"),))
        async for _ in call:
            pass
    assert set(seen) == {"follow-me"}


@pytest.mark.parametrize(("setting", "is_sent"), [("0", False), ("1", True)])
async def test_a_shop_gets_the_trace_context_only_if_a_setting_says_so(
    store: RunningStore, tmp_path: Path, setting: str, is_sent: bool
) -> None:
    """A merchant's shop is a foreign party; the names of the operator's systems are never sent."""
    seen: list[tuple[str, str]] = []

    async def look(request: web.Request) -> None:
        seen.append((request.headers.get("traceparent", ""), request.headers.get("tracestate", "")))

    store.add_fault(WOO.domain, look)
    credentials = write_credentials(tmp_path / "credentials.toml", WOO)
    settings = {**settings_for(store), "CREDENTIALS_FILE": credentials, "SEND_TRACEPARENT": setting}
    async with running_collector() as collector:
        async with running(tmp_path, TRACE_ENDPOINT=collector.endpoint, **settings) as connector:
            metadata = (("traceparent", TRACEPARENT), ("tracestate", "vendor=1"))
            call = connector.stub.FetchProducts(pb.FetchProductsRequest(shop=reference(WOO)), metadata=metadata)
            async for _ in call:
                pass
            assert await connector.stop() == 0
        requests = {span.traceparent for span in collector.spans if "http.request.method" in span.attributes}
    assert len(requests) == len(seen) > 1
    assert set(seen) == ({(traceparent, "") for traceparent in requests} if is_sent else {("", "")})


async def test_a_collector_that_never_answers_delays_neither_calls_nor_the_stop(tmp_path: Path) -> None:
    collector = SilentCollector()
    async with running_collector(collector), running(tmp_path, TRACE_ENDPOINT=collector.endpoint) as connector:
        for _ in range(2):
            await connector.stub.ListPlatforms(pb.ListPlatformsRequest())
            await until(lambda: collector.exports)
        assert await connector.stop() == 0
        await until(lambda: collector.seconds_left)
    # The process has not waited until the exporter gave up.
    assert collector.seconds_left[0] > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"LISTEN_ADDRESS": "nowhere"}, "CONNECTOR_LISTEN_ADDRESS: expected host:port"),
        ({"LISTEN_ADDRESS": "0.0.0.0:0"}, "set CONNECTOR_ALLOW_INSECURE=1"),
        ({"CREDENTIALS_FILE": "/missing.toml"}, "CONNECTOR_CREDENTIALS_FILE: there is no file /missing.toml"),
        ({"CREDENTIALS_FILE": "broken.toml"}, "CONNECTOR_CREDENTIALS_FILE: broken.toml"),
        ({"CA_FILE": "broken.toml"}, "CONNECTOR_CA_FILE: broken.toml holds no PEM"),
        ({"ENDPOINT_OVERRIDES": "{"}, "CONNECTOR_ENDPOINT_OVERRIDES: expected JSON"),
        ({"ENDPOINT_OVERRIDES": '{"a": "b"}'}, "CONNECTOR_ENDPOINT_OVERRIDES: the base URL of 'a' must look like"),
        ({"TOKEN_SERVICE_URL": "http://u:hunter2@x"}, "CONNECTOR_TOKEN_SERVICE_URL: must not hold a user"),
        ({"DENIED_NETWORKS": "8.8.8.8/31, 8.8.8.9/24"}, "CONNECTOR_DENIED_NETWORKS: expected networks such as"),
        ({"HTTP_ATTEMPTS": "0"}, "CONNECTOR_HTTP_ATTEMPTS"),
        ({"HTTP_TIMEOUT": "soon"}, "CONNECTOR_HTTP_TIMEOUT: expected a duration"),
        ({"LOG_LEVEL": "loud"}, "CONNECTOR_LOG_LEVEL"),
        (
            {"TRACE_ENDPOINT": "http://u:hunter2@collector:4317"},
            'CONNECTOR_TRACE_ENDPOINT: expected "http://host:port',
        ),
        ({"TRACE_ENDPOINT": "collector:4317"}, 'CONNECTOR_TRACE_ENDPOINT: expected "http://host:port'),
        ({"TRACE_SAMPLE_RATIO": "2"}, "CONNECTOR_TRACE_SAMPLE_RATIO"),
        (
            {"SHOPIFY_STRATEGY": "fast"},
            "CONNECTOR_SHOPIFY_STRATEGY: Input should be 'auto', 'paging', 'ids' or 'bulk'",
        ),
    ],
)
async def test_a_wrong_setting_is_one_clear_line_and_exit_code_2(
    settings: dict[str, str], message: str, tmp_path: Path
) -> None:
    (tmp_path / "broken.toml").write_text('token = "hunter2')
    process = await start(tmp_path, **settings)
    _, errors = await process.communicate()
    lines = errors.decode().strip().splitlines()
    assert process.returncode == 2, lines
    assert message in lines[-1]
    assert len(lines) == 1
    assert "hunter2" not in errors.decode()


def assert_no_secret(texts: list[str]) -> None:
    assert texts
    assert not [text for text in texts for secret in SECRETS if secret in text]
