"""A connector that rejects the catalog's own credentials is an outage: nobody's shop or token is wrong."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import grpc
import pytest
from catalogsync.connector.v1.connector_service_pb2_grpc import add_ConnectorServiceServicer_to_server
from catalogsync_common.channel import open_channel
from catalogsync_common.drain import Drain
from catalogsync_common.server import Service, build_server
from catalogsync_common.settings import ListenAddress

from catalog_svc.domain.errors import ConnectorUnavailable
from catalog_svc.source.connector_client import ConnectorPlatforms
from tests.fakes.catalog_service import FailureWithReason
from tests.fakes.checking_connector import CheckingConnector


@pytest.mark.parametrize("reason", ["UNAUTHENTICATED", "PERMISSION_DENIED", "TOKEN_EXPIRED"])
async def test_rejected_credentials_of_the_catalog_are_transient_and_name_the_cause(reason: str) -> None:
    class Connector(CheckingConnector):
        async def ListPlatforms(self, request: Any, context: Any) -> Any:
            raise FailureWithReason(reason, "rejected")

    def register(server: grpc.aio.Server) -> None:
        # The other methods are not called.
        add_ConnectorServiceServicer_to_server(Connector(), server)

    server = build_server(
        (Service(name="x", register=register),), listen_address=ListenAddress("127.0.0.1:0"), drain=Drain()
    )
    port = await server.start()
    async with open_channel(f"127.0.0.1:{port}") as channel:
        with pytest.raises(ConnectorUnavailable, match="rejected the credentials of catalog_svc") as caught:
            await ConnectorPlatforms(channel).find("shopify")
    await server.stop(timedelta())
    assert caught.value.reason == "CONNECTOR_UNAVAILABLE"
    assert caught.value.transient
