"""Event streams through nginx, caddy and haproxy: nothing is buffered, neither events nor heartbeats."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from catalogsync.catalog.v1.catalog_service_pb2 import Progress, RecordCounts, Shop, Sync
from catalogsync_bff.bootstrap import running
from catalogsync_bff.settings import BffSettings
from catalogsync_common.settings import ListenAddress

from bench.common.reverse_proxies import CADDY, REVERSE_PROXIES, ReverseProxy
from tests.bff_client import API, BffClient
from tests.conftest import open_directory
from tests.fakes.catalog_service import CatalogServer, FakeCatalog
from tests.waiting import within_timeout


@pytest.fixture
async def server() -> AsyncIterator[CatalogServer]:
    server = CatalogServer(FakeCatalog())
    await server.start()
    yield server
    await server.kill()
    await server.fake.close()


@pytest.fixture
def sync(server: CatalogServer) -> Sync:
    """A running sync."""
    shop = Shop(platform="shopify", domain="demo.myshopify.com")
    return server.fake.add_sync(server.fake.register(shop), state=Sync.STATE_RUNNING)


@asynccontextmanager
async def behind(proxy: ReverseProxy, server: CatalogServer) -> AsyncIterator[BffClient]:
    """Yield a browser with a session at a BFF behind the proxy."""
    if proxy.program is None:
        pytest.skip(f"{proxy.name} is not installed: apt-get install {proxy.name}")
    settings = BffSettings(
        listen_address=ListenAddress("127.0.0.1:0"),
        catalog_address=server.address,
        dev_login=True,
        heartbeat_interval=timedelta(milliseconds=300),
    )
    with open_directory("proxy") as directory:
        async with (
            running(settings, on_give_up=lambda: None) as port,
            proxy.running(f"127.0.0.1:{port}", Path(directory)) as origin,
            BffClient(origin) as browser,
        ):
            await browser.log_in()
            yield browser


@pytest.mark.parametrize("proxy", REVERSE_PROXIES, ids=lambda proxy: proxy.name)
async def test_events_and_heartbeats_pass_while_the_stream_is_open(
    proxy: ReverseProxy, server: CatalogServer, sync: Sync
) -> None:
    """Each event is read before the next change is made: a proxy that buffers would stop the test."""
    async with behind(proxy, server) as browser:
        for path in ("/events", f"/sync/{sync.sync_id}/events"):
            async with browser.stream(path) as stream:
                await stream.next("sync")
                for count in range(1, 4):
                    seen = Progress(items=RecordCounts(seen_count=count))
                    await server.fake.change(sync.sync_id, progress=seen)
                    event = await stream.next("sync")
                    assert event.content["progress"]["items"]["seen_count"] == count
                    await stream.next("heartbeat")
                assert "Content-Encoding" not in stream.response.headers


@pytest.mark.parametrize("proxy", REVERSE_PROXIES, ids=lambda proxy: proxy.name)
async def test_the_end_of_a_stream_passes(proxy: ReverseProxy, server: CatalogServer, sync: Sync) -> None:
    async with behind(proxy, server) as browser:
        async with browser.stream(f"/sync/{sync.sync_id}/events") as stream:
            await stream.next("sync")
            await server.fake.change(sync.sync_id, state=Sync.STATE_SUCCEEDED)
            assert [event.content["state"] for event in await stream.rest() if event.name == "sync"] == [
                "SUCCEEDED"
            ]
        answer = await browser.get(f"/sync/{sync.sync_id}/events", headers={"Last-Event-ID": "2"})
        assert answer.status == 204


async def test_events_pass_over_http_2(server: CatalogServer, sync: Sync) -> None:
    """The BFF speaks HTTP/1.1; a proxy gives browsers one connection for all of their streams."""
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed: apt-get install curl")
    async with behind(CADDY, server) as browser:
        process = await asyncio.create_subprocess_exec(
            curl, "--silent", "--no-buffer", "--noproxy", "*", "--http2-prior-knowledge", "--include",
            "--header", f"Cookie: {browser.cookie}", f"{browser.url}{API}/events",
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        try:
            assert (await within_timeout(process.stdout.readline())).startswith(b"HTTP/2 200")
            await within_timeout(process.stdout.readuntil(b"event: caught_up"))
            await server.fake.change(sync.sync_id, state=Sync.STATE_SUCCEEDED)
            await within_timeout(process.stdout.readuntil(b"SUCCEEDED"))
            await within_timeout(process.stdout.readuntil(b"event: heartbeat"))
        finally:
            process.kill()
            await process.wait()
