"""Reads products from connector_svc."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Final

import grpc
from catalogsync.connector.v1 import connector_service_pb2 as pb
from catalogsync.connector.v1.connector_service_pb2_grpc import ConnectorServiceStub
from catalogsync_common.call_context import outgoing_metadata

from catalog_svc.domain.errors import ConnectorUnavailable
from catalog_svc.domain.source import SourceEvent, SourceRequest
from catalog_svc.source import decode
from catalog_svc.source.failures import to_source_failure

CONNECTOR_CHANNEL: Final = json.dumps(
    {
        "loadBalancingConfig": [{"round_robin": {}}],
        "healthCheckConfig": {"serviceName": pb.DESCRIPTOR.services_by_name["ConnectorService"].full_name},
    }
)
"""gRPC's service config: each pass goes to the next connector of those that are serving."""


class ConnectorSource:
    """A `ProductSource` over one channel; a stream that stays silent for `stall_timeout` is taken for dead.

    The connector promises a message every 30 s, so a total deadline is neither needed nor wanted: a pass takes as
    long as the platform lets it.
    """

    def __init__(self, channel: grpc.aio.Channel, *, stall_timeout: timedelta = timedelta(seconds=60)) -> None:
        self._stub = ConnectorServiceStub(channel)
        self._stall_timeout = stall_timeout.total_seconds()

    async def fetch(self, request: SourceRequest) -> AsyncGenerator[SourceEvent, None]:
        """Events of one pass. Raises SourceFailed."""
        call = self._stub.FetchProducts(_to_proto(request), metadata=outgoing_metadata())
        currency_code = ""
        try:
            while True:
                message = await self._read(call)
                if message is None:
                    return
                kind = message.WhichOneof("event")
                if kind == "header":
                    currency_code = message.header.currency_code
                    yield decode.header(message.header)
                elif kind == "batch":
                    yield decode.batch(message.batch, currency_code=currency_code)
                elif kind == "waiting":
                    yield decode.waiting(message.waiting)
                elif kind == "end":
                    yield decode.end(message.end)
        finally:
            # Leaving the loop does not end the call: without this the connector goes on reading for nobody.
            call.cancel()

    async def _read(
        self, call: grpc.aio.UnaryStreamCall[pb.FetchProductsRequest, pb.FetchProductsResponse]
    ) -> pb.FetchProductsResponse | None:
        try:
            async with asyncio.timeout(self._stall_timeout):
                message = await call.read()
        except TimeoutError:
            raise ConnectorUnavailable("connector_svc has fallen silent; we try again") from None
        except grpc.aio.AioRpcError as error:
            raise await to_source_failure(error, call) from error
        return message if isinstance(message, pb.FetchProductsResponse) else None


def _to_proto(request: SourceRequest) -> pb.FetchProductsRequest:
    message = pb.FetchProductsRequest(
        shop=pb.ShopRef(platform=request.shop.platform, domain=request.shop.domain),
        checkpoint=request.checkpoint,
        max_batch_products=request.max_batch_products,
        product_ids=request.product_ids,
    )
    if request.updated_after is not None:
        message.updated_after.FromDatetime(request.updated_after)
    return message
