"""A sync waits during an outage of a service that it needs, reports that, and continues by itself."""

from __future__ import annotations

import asyncio

from aiohttp import web
from catalogsync.catalog.v1 import catalog_service_pb2 as pb

from tests.e2e.conftest import free_port
from tests.e2e.small_system import DOMAIN, SHOP, small_system


async def test_a_sync_waits_for_an_unavailable_connector_and_continues_after_its_restart() -> None:
    async with small_system(products=750, latency_ms=1000) as system:
        await system.start_connector("connector")
        await system.start_catalog("catalog", LEASE_TTL="15s")
        async with system.stub("catalog") as stub:
            sync = (await stub.StartSync(pb.StartSyncRequest(shop=SHOP, mode=pb.Sync.MODE_FULL))).sync
            restarting: asyncio.Task[None] | None = None
            wait_reported = asyncio.Event()

            async def restart() -> None:
                await wait_reported.wait()
                await system.start_connector("restarted connector")

            async with asyncio.timeout(150):
                async for message in stub.WatchSync(pb.WatchSyncRequest(sync_id=sync.sync_id)):
                    sync = message.sync
                    if restarting is None and sync.progress.items.seen_count:
                        system.processes.kill_one("connector")
                        restarting = asyncio.create_task(restart())
                    if sync.waiting.reason == pb.Waiting.REASON_CONNECTOR:
                        wait_reported.set()
            assert restarting is not None
            await restarting
    assert sync.state == pb.Sync.STATE_SUCCEEDED
    assert (sync.attempt_count, sync.progress.items.created_count) == (1, system.items)


async def test_a_sync_waits_for_an_unavailable_token_service() -> None:
    up = asyncio.Event()

    async def token(request: web.Request) -> web.Response:
        if not up.is_set():
            return web.Response(status=503)
        return web.json_response({"data": {"access_token": f"shpat_devstore_{DOMAIN}"}})

    app = web.Application()
    app.router.add_get(f"/api/v1/tokens/shopify/{DOMAIN}", token)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        async with small_system(products=20, latency_ms=0) as system:
            await system.start_connector(
                "connector", CREDENTIALS_FILE="", TOKEN_SERVICE_URL=f"http://127.0.0.1:{port}"
            )
            await system.start_catalog("catalog")
            async with system.stub("catalog") as stub, asyncio.timeout(90):
                sync = (await stub.StartSync(pb.StartSyncRequest(shop=SHOP))).sync
                async for message in stub.WatchSync(pb.WatchSyncRequest(sync_id=sync.sync_id)):
                    sync = message.sync
                    if sync.waiting.reason == pb.Waiting.REASON_TOKEN_SERVICE:
                        up.set()
    finally:
        await runner.cleanup()
    assert up.is_set()
    assert (sync.state, sync.progress.items.seen_count) == (pb.Sync.STATE_SUCCEEDED, system.items)
