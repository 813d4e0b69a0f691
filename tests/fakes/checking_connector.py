"""A fake ConnectorService that knows some shops and platforms and has no streams."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
from catalogsync.connector.v1 import connector_service_pb2 as connector
from catalogsync.connector.v1.connector_service_pb2_grpc import (
    ConnectorServiceServicer,
    add_ConnectorServiceServicer_to_server,
)
from catalogsync_common.interceptor import CallInterceptor

from tests.fakes.catalog_service import FailureWithReason


class CheckingConnector(ConnectorServiceServicer):
    """Answers CheckShop from `shops`, keyed "platform:domain"; all other shops have no credentials."""

    def __init__(self) -> None:
        self.shops: dict[str, connector.CheckShopResponse | BaseException] = {}
        self.platforms: list[connector.Platform] = []

    async def CheckShop(self, request: connector.CheckShopRequest, context: Any) -> connector.CheckShopResponse:
        found = self.shops.get(f"{request.shop.platform}:{request.shop.domain}")
        if found is None:
            raise FailureWithReason("CREDENTIALS_NOT_FOUND", "no credentials for this shop: connect it first")
        if isinstance(found, BaseException):
            raise found
        return found

    def FetchProducts(
        self, request: connector.FetchProductsRequest, context: Any
    ) -> AsyncIterator[connector.FetchProductsResponse]:
        raise FailureWithReason("NOT_IMPLEMENTED", "no streams here")

    async def CancelFetch(
        self, request: connector.CancelFetchRequest, context: Any
    ) -> connector.CancelFetchResponse:
        return connector.CancelFetchResponse()

    async def VerifyWebhook(
        self, request: connector.VerifyWebhookRequest, context: Any
    ) -> connector.VerifyWebhookResponse:
        raise FailureWithReason("WEBHOOK_SIGNATURE_INVALID", "no webhook secrets here")

    async def EnsureWebhooks(
        self, request: connector.EnsureWebhooksRequest, context: Any
    ) -> connector.EnsureWebhooksResponse:
        """Create those that are missing in `shops`, and enable those that are disabled."""
        found = await self.CheckShop(connector.CheckShopRequest(shop=request.shop), context)
        for number, webhook in enumerate(found.webhooks):
            if webhook.state != connector.WebhookSubscription.STATE_ACTIVE:
                webhook.id, webhook.address, webhook.changed = str(number), request.address, True
                webhook.state = connector.WebhookSubscription.STATE_ACTIVE
        return connector.EnsureWebhooksResponse(webhooks=found.webhooks)

    async def ListPlatforms(
        self, request: connector.ListPlatformsRequest, context: Any
    ) -> connector.ListPlatformsResponse:
        return connector.ListPlatformsResponse(platforms=self.platforms)


async def serve_connector(fake: CheckingConnector) -> tuple[grpc.aio.Server, str]:
    """Start a server; return it and its address."""
    server = grpc.aio.server(interceptors=(CallInterceptor(),), options=(("grpc.so_reuseport", 0),))
    add_ConnectorServiceServicer_to_server(fake, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, f"127.0.0.1:{port}"
