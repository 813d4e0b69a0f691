"""What the connector requests on behalf of a call ends with the call."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import grpc
import pytest
from catalogsync.connector.v1 import connector_service_pb2 as pb
from catalogsync.connector.v1.connector_service_pb2_grpc import (
    ConnectorServiceStub,
    add_ConnectorServiceServicer_to_server,
)
from catalogsync_common.call_limits import CallLimits
from catalogsync_common.channel import open_channel
from catalogsync_common.drain import Drain
from catalogsync_common.logs import redact
from catalogsync_common.server import Service, build_server
from catalogsync_common.settings import ListenAddress
from yarl import URL

from connector_svc.credentials.token_service import TokenServiceConfig, TokenServiceCredentials
from connector_svc.domain.shop import Shop, ShopInfo
from connector_svc.http.client import open_http
from connector_svc.rpc.requests import Platforms
from connector_svc.rpc.servicer import ConnectorServicer
from tests.fakes.listed_platform import ListedPlatform
from tests.fakes.shop_server import FakeEnvironment
from tests.waiting import within_timeout

SERVICE = "catalogsync.connector.v1.ConnectorService"


class TokenPlatform(ListedPlatform):
    """A platform whose check needs a token."""

    credentials: TokenServiceCredentials

    async def check(self, shop: Shop) -> ShopInfo:
        await self.credentials.credentials(shop)
        raise AssertionError("the Token Service never answers")


class SilentService:
    """A Token Service that accepts requests and never answers."""

    def __init__(self) -> None:
        self.requested = asyncio.Event()
        self.disconnected = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.requested.set()
        await reader.read()
        self.disconnected.set()
        writer.close()


@pytest.mark.parametrize(
    ("deadline_seconds", "limit"),
    [(0.5, timedelta(hours=1)), (None, timedelta(milliseconds=500))],
    ids=["the client's deadline", "the server's limit"],
)
async def test_a_request_to_the_token_service_ends_with_its_call(
    deadline_seconds: float | None, limit: timedelta
) -> None:
    silent = SilentService()
    tokens = await asyncio.start_server(silent.serve, "127.0.0.1", 0)
    port = tokens.sockets[0].getsockname()[1]
    async with tokens, open_http(None, FakeEnvironment().dependencies()) as http:
        platform = TokenPlatform()
        config = TokenServiceConfig(base_url=URL(f"http://127.0.0.1:{port}"))
        platform.credentials = TokenServiceCredentials(config, http.services)
        drain = Drain()
        servicer = ConnectorServicer(Platforms([platform]), drain=drain, redact=redact)
        server = build_server(
            (
                Service(
                    name=SERVICE,
                    register=lambda server: add_ConnectorServiceServicer_to_server(servicer, server),
                ),
            ),
            listen_address=ListenAddress("127.0.0.1:0"),
            drain=drain,
            limits=CallLimits(longer_call_times={f"/{SERVICE}/CheckShop": limit}),
        )
        address = f"127.0.0.1:{await server.start()}"
        async with open_channel(address) as channel:
            request = pb.CheckShopRequest(shop=pb.ShopRef(platform="listed", domain="demo.example"))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await ConnectorServiceStub(channel).CheckShop(request, timeout=deadline_seconds)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await within_timeout(silent.disconnected.wait())
        assert silent.requested.is_set()
        await server.stop(timedelta())
