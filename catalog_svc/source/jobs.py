"""What the platform still does for a pass that nobody continues."""

from __future__ import annotations

from datetime import timedelta

import grpc
from catalogsync.connector.v1 import connector_service_pb2 as pb
from catalogsync.connector.v1.connector_service_pb2_grpc import ConnectorServiceStub
from catalogsync_common.call_context import outgoing_metadata

from catalog_svc.domain.shop import ShopKey
from catalog_svc.source.failures import to_source_failure


class ConnectorJobs:
    """`PlatformJobs` over one channel."""

    def __init__(self, channel: grpc.aio.Channel, *, timeout: timedelta = timedelta(seconds=30)) -> None:
        self._stub = ConnectorServiceStub(channel)
        self._timeout = timeout.total_seconds()

    async def cancel_fetch(self, shop: ShopKey, checkpoint: bytes) -> bool:
        """Whether a job was told to end. Raises SourceFailed."""
        request = pb.AbandonFetchRequest(
            shop=pb.ShopRef(platform=shop.platform, domain=shop.domain), checkpoint=checkpoint
        )
        try:
            answer = await self._stub.AbandonFetch(request, timeout=self._timeout, metadata=outgoing_metadata())
        except grpc.aio.AioRpcError as error:
            raise await to_source_failure(error) from error
        return answer.job_ended
