"""ConnectorServicer: the RPCs of ConnectorService."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import grpc
from catalogsync.connector.v1 import connector_service_pb2 as pb
from catalogsync.connector.v1.connector_service_pb2_grpc import ConnectorServiceServicer
from catalogsync_common.drain import Drain
from catalogsync_common.failure import InvalidRequest

from connector_svc.rpc.convert import (
    platform_message,
    shop_info_message,
    subscription_message,
    webhook_message,
)
from connector_svc.rpc.fetch_stream import FetchStream, StreamTiming
from connector_svc.rpc.requests import (
    Platforms,
    parse_cancel,
    parse_ensure,
    parse_fetch,
    parse_shop,
    parse_webhook,
)
from connector_svc.rpc.stream_checkpoint import decode_stream_checkpoint
from connector_svc.webhook_setup import WebhookSetup
from connector_svc.webhooks import WebhookVerifier


class ConnectorServicer(ConnectorServiceServicer):
    """Serves all platforms; see the proto for what callers may rely on."""

    def __init__(
        self,
        platforms: Platforms,
        *,
        drain: Drain,
        redact: Callable[[str], str],
        webhooks: WebhookVerifier | None = None,
        webhook_setup: WebhookSetup | None = None,
        timing: StreamTiming | None = None,
    ) -> None:
        """Create the servicer; `webhooks` and `webhook_setup`: None if no platform sends webhooks."""
        self._platforms = platforms
        self._drain = drain
        self._redact = redact
        self._webhooks = webhooks
        self._webhook_setup = webhook_setup
        self._timing = timing or StreamTiming()

    async def FetchProducts(
        self, request: pb.FetchProductsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncGenerator[pb.FetchProductsResponse, None]:
        parsed = parse_fetch(request, self._platforms)
        stream = FetchStream(parsed, drain=self._drain, redact=self._redact, timing=self._timing)
        async with aclosing(stream.messages()) as messages:
            async for message in messages:
                yield message

    async def CancelFetch(
        self, request: pb.CancelFetchRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.CancelFetchResponse:
        parsed = parse_cancel(request, self._platforms)
        checkpoint = decode_stream_checkpoint(parsed.shop, parsed.checkpoint)
        cancelling = parsed.platform.cancel_job(parsed.shop, checkpoint.platform if checkpoint else b"")
        return pb.CancelFetchResponse(job_cancelled=await self._drain.race(cancelling))

    async def CheckShop(
        self, request: pb.CheckShopRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.CheckShopResponse:
        parsed = parse_shop(request.shop, self._platforms)
        shop_info = await self._drain.race(parsed.platform.check(parsed.shop))
        if self._webhook_setup is None:
            return shop_info_message(shop_info)
        report = await self._drain.race(self._webhook_setup.report(parsed.shop))
        return shop_info_message(shop_info, report)

    async def EnsureWebhooks(
        self, request: pb.EnsureWebhooksRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.EnsureWebhooksResponse:
        if self._webhook_setup is None:
            raise InvalidRequest.of("shop.platform", "must be one that sends webhooks: there is none")
        parsed = parse_ensure(request, self._platforms, self._webhook_setup.platforms)
        ensured = await self._drain.race(self._webhook_setup.ensure(parsed.shop, parsed.address))
        return pb.EnsureWebhooksResponse(webhooks=map(subscription_message, ensured))

    async def VerifyWebhook(
        self, request: pb.VerifyWebhookRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.VerifyWebhookResponse:
        if self._webhooks is None:
            raise InvalidRequest.of("platform", "must be one that sends webhooks: there is none")
        parsed = parse_webhook(request, self._platforms, self._webhooks.platforms)
        return webhook_message(await self._drain.race(self._webhooks.verify(parsed.platform, parsed.delivery)))

    async def ListPlatforms(
        self, request: pb.ListPlatformsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ListPlatformsResponse:
        creating = self._webhook_setup.platforms if self._webhook_setup else ()
        return pb.ListPlatformsResponse(
            platforms=[platform_message(each, webhooks=each.name in creating) for each in self._platforms.all()]
        )
