"""What a BFF does with webhooks: an HTTP server that passes each delivery on to CatalogService."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
from aiohttp import web
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub

_TIMEOUT_SECONDS = 4


@dataclass(kw_only=True, slots=True)
class Receiver:
    """A running receiver."""

    url: str = ""
    answered: list[int] = field(default_factory=list)
    """The HTTP status of each delivery."""
    seconds: list[float] = field(default_factory=list)
    """The time of each call of IngestWebhook."""


@asynccontextmanager
async def receiving(stub: CatalogServiceStub) -> AsyncIterator[Receiver]:
    """Listen on a free port of this machine while the context lasts."""
    receiver = Receiver()

    async def receive(request: web.Request) -> web.Response:
        delivery = pb.IngestWebhookRequest(platform=request.match_info["platform"], body=await request.read())
        for name, value in request.headers.items():
            delivery.headers.add(name=name, value=value)
        loop_time = asyncio.get_running_loop().time
        begin = loop_time()
        try:
            await stub.IngestWebhook(delivery, timeout=_TIMEOUT_SECONDS)
            status = 200
        except grpc.aio.AioRpcError as error:
            print(f"IngestWebhook: {error.details()}", flush=True)
            status = 503
        receiver.seconds.append(loop_time() - begin)
        receiver.answered.append(status)
        return web.Response(status=status)

    app = web.Application()
    app.router.add_post("/{platform}", receive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        receiver.url = f"http://{host}:{port}"
        yield receiver
    finally:
        await runner.cleanup()
