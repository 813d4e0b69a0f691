"""The client of ConnectorService, for operators: platforms, and the connection of a shop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Self

from catalogsync.connector.v1 import connector_service_pb2 as pb
from catalogsync.connector.v1.connector_service_pb2_grpc import ConnectorServiceStub
from catalogsync_common.channel import open_channel
from catalogsync_common.client_tls import ClientTls

from catalogsync_client.caller import Caller
from catalogsync_client.credentials import Credentials, NoCredentials
from catalogsync_client.shop import ShopName

CHECK_TIMEOUT_SECONDS: Final = 60.0
"""The time limit of calls that wait for a platform."""


class ConnectorClient:
    """A client of ConnectorService on one channel; an async context manager that closes the channel.

    Every method raises CatalogSyncError. The service takes service secrets, no tokens.
    """

    def __init__(
        self,
        address: str,
        *,
        credentials: Credentials | None = None,
        tls: ClientTls | None = None,
        timeout_seconds: float | None = None,
    ) -> None:
        """Create a client; the arguments are those of CatalogClient."""
        self._channel = open_channel(address, tls=tls)
        self._stub = ConnectorServiceStub(self._channel)
        callee = f"connector_svc at {address}"
        self._caller = Caller(callee, credentials or NoCredentials(), timeout_seconds=timeout_seconds)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the channel; running calls end."""
        await self._channel.close()

    async def check_shop(self, shop: ShopName) -> pb.CheckShopResponse:
        """Check that the shop can be read; the error says why it cannot."""
        request = pb.CheckShopRequest(shop=shop.for_connector())
        return await self._caller.call(self._stub.CheckShop, request, timeout_seconds=CHECK_TIMEOUT_SECONDS)

    async def ensure_webhooks(self, shop: ShopName, address: str) -> Sequence[pb.WebhookSubscription]:
        """Create and enable the webhooks of the shop at the address, and return them."""
        request = pb.EnsureWebhooksRequest(shop=shop.for_connector(), address=address)
        call = self._caller.call(self._stub.EnsureWebhooks, request, timeout_seconds=CHECK_TIMEOUT_SECONDS)
        return (await call).webhooks

    async def list_platforms(self) -> pb.ListPlatformsResponse:
        """Return the supported platforms."""
        return await self._caller.call(self._stub.ListPlatforms, pb.ListPlatformsRequest())
