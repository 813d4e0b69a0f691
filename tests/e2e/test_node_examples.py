"""The examples in Node run as documented, in copies, so that no file is left in the repository."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest
from catalogsync.catalog.v1 import catalog_service_pb2 as pb

from tests.e2e.conftest import System, clean_environment
from tests.e2e.node_packages import (
    install_example,
    install_typescript_client,
    needs_node,
    run_until_shop_answers,
    shared_directory,
)
from tests.fakes.catalog_service import CatalogServer, FailureWithReason, FakeCatalog, timestamp
from tests.waiting import until

pytestmark = [needs_node, pytest.mark.timeout(300)]


@pytest.fixture(scope="session")
async def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of clients/typescript, installed and built."""
    return await install_typescript_client(shared_directory(tmp_path_factory))


@pytest.mark.parametrize("name", ["node-bff", "node-protos"])
async def test_an_example_watches_a_sync_until_it_ends(name: str, client: Path, system: System) -> None:
    directory = await install_example(client, name)
    code, out = await sync(system.catalog_address, "shopify:demo.myshopify.com", directory)
    assert code == 0, out
    assert out.splitlines()[-1].startswith("SUCCEEDED")
    code, out = await sync(system.catalog_address, "amazon:demo.example", directory)
    assert code == 2
    assert out.startswith("INVALID_REQUEST: shop.platform: ")
    code, out = await sync(system.catalog_address, "woocommerce:missing.example", directory)
    assert code == 1
    assert "SOURCE_NOT_FOUND" in out
    await check_with_a_fake(name, directory)


async def sync(address: str, shop: str, directory: Path) -> tuple[int, str]:
    """Run the example's index.js; return its exit code and output."""
    settings = {"CATALOG_ADDRESS": address}
    return await run_until_shop_answers("node", "index.js", shop, cwd=directory, settings=settings)


async def check_with_a_fake(name: str, directory: Path) -> None:
    """Check what the real catalog does only after minutes or in an outage."""
    server = CatalogServer(FakeCatalog())
    await server.start()
    fake = server.fake
    fake.execute = run_an_incremental_sync
    fake.errors["StartSync"] = [FailureWithReason("STORAGE_UNAVAILABLE", retry_after=timedelta(seconds=0.1))]
    fake.reconnects = [
        pb.WatchSyncResponse.RECONNECT_REASON_STREAM_EXPIRED,
        pb.WatchSyncResponse.RECONNECT_REASON_SERVER_DRAINING,
    ]
    code, out = await sync(server.address, "shopify:demo.myshopify.com", directory)
    await server.kill()
    await fake.close()
    assert code == 0, out
    methods = [method for method, _, _ in fake.requests]
    assert methods == ["StartSync", "StartSync", "WatchSync", "WatchSync", "WatchSync"]
    assert fake.requests[0][1] == fake.requests[1][1]
    nothing = "nothing changed since 2023-11-14T22:13:20.000Z, 3 products compared  1200 products checked"
    result = nothing if name == "node-bff" else "0 items"
    assert out.splitlines()[-1] == f"SUCCEEDED  {result}"


async def run_an_incremental_sync(fake: FakeCatalog, sync_id: str) -> None:
    """Run until the third call of WatchSync, and change nothing."""
    await until(lambda: len(fake.requests) == 5)
    progress = pb.Progress(products=pb.RecordCounts(seen_count=3, unchanged_count=3), checked_product_count=1200)
    await fake.change(
        sync_id,
        state=pb.Sync.STATE_SUCCEEDED,
        mode=pb.Sync.MODE_INCREMENTAL,
        progress=progress,
        changes_since_time=timestamp(1_700_000_000),
    )


async def test_a_browser_resumes_the_events_of_a_sync_and_stops_after_its_end(
    client: Path, system: System
) -> None:
    directory = await install_example(client, "node-bff")
    started = await system.start("shopify", "demo.myshopify.com")
    async with running_relay(directory, system.catalog_address) as url, aiohttp.ClientSession() as browser:
        events = await read_events(browser, f"{url}/syncs/{started.sync_id}/events", last_event_id="")
        revisions = [int(revision) for revision, _ in events]
        assert revisions == sorted(revisions)
        last, snapshot = events[-1]
        # FAILED if the shop did not answer in time, as on a busy machine.
        assert snapshot["state"] in ("STATE_SUCCEEDED", "STATE_FAILED")
        # A reconnect that has missed the end gets it; after it the browser is told to stop.
        again = await read_events(browser, f"{url}/syncs/{started.sync_id}/events", last_event_id="1")
        assert [revision for revision, _ in again] == [last]
        headers = {"Last-Event-ID": last}
        async with browser.get(f"{url}/syncs/{started.sync_id}/events", headers=headers) as response:
            assert response.status == 204
        async with browser.get(f"{url}/syncs/00000000-0000-4000-8000-000000000000/events") as response:
            assert response.status == 404
            assert await response.text() == "SYNC_NOT_FOUND"


@asynccontextmanager
async def running_relay(directory: Path, address: str) -> AsyncIterator[str]:
    """Yield the URL of the example's events.js, and stop it at the end."""
    environment = {**clean_environment(), "CATALOG_ADDRESS": address, "PORT": "0"}
    process = await asyncio.create_subprocess_exec(
        "node", "events.js", cwd=directory, env=environment, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            yield (await process.stdout.readline()).decode().strip()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def read_events(
    browser: aiohttp.ClientSession, url: str, *, last_event_id: str
) -> list[tuple[str, dict[str, str]]]:
    """Return the ids and snapshots of all events until the response ends."""
    async with browser.get(url, headers={"Last-Event-ID": last_event_id}) as response:
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        text = await response.text()
    events = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            events.append((fields["id"], json.loads(fields["data"])))
    return events
