"""Reads products from connector_svc.

What the platform still does for a pass that nobody continues.

Which platforms the connector supports.

What the connector says when it cannot go on, as the catalog's own failures."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from datetime import timedelta
from typing import Final

import grpc
from catalogsync.connector.v1 import connector_service_pb2 as pb
from catalogsync.connector.v1.connector_service_pb2_grpc import ConnectorServiceStub
from catalogsync_common.correlation import outgoing_metadata
from catalogsync_common.status import read_failure

from catalog_svc.domain.errors import ConnectorUnavailable, SourceFailed
from catalog_svc.domain.shop import PlatformInfo, ShopKey
from catalog_svc.domain.source import SourceEvent, SourceRequest
from catalog_svc.source import decode

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


class ConnectorPlatforms:
    """Asks the connector once and remembers; asks again for a name it does not know, at most every `refresh`."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        timeout: timedelta = timedelta(seconds=5),
        refresh: timedelta = timedelta(seconds=10),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stub = ConnectorServiceStub(channel)
        self._timeout = timeout.total_seconds()
        self._refresh = refresh.total_seconds()
        self._monotonic = monotonic
        self._known: Mapping[str, PlatformInfo] = {}
        self._asked_at: float | None = None

    async def find(self, name: str) -> PlatformInfo | None:
        """None: not supported. Raises ConnectorUnavailable."""
        if name not in self._known and self._may_ask():
            await self._ask()
        return self._known.get(name)

    async def names(self) -> list[str]:
        """All of them. Raises ConnectorUnavailable."""
        if not self._known:
            await self._ask()
        return sorted(self._known)

    def _may_ask(self) -> bool:
        return self._asked_at is None or self._monotonic() - self._asked_at >= self._refresh

    async def _ask(self) -> None:
        try:
            answer = await self._stub.ListPlatforms(
                pb.ListPlatformsRequest(), timeout=self._timeout, metadata=outgoing_metadata()
            )
        except grpc.aio.AioRpcError as error:
            raise await to_source_failure(error) from error
        self._known = {
            platform.name: PlatformInfo(
                name=platform.name,
                domain_pattern=platform.domain_pattern,
                incremental=platform.capabilities.incremental,
            )
            for platform in answer.platforms
        }
        self._asked_at = self._monotonic()


async def to_source_failure(error: grpc.aio.AioRpcError, call: grpc.aio.Call | None = None) -> SourceFailed:
    """The failure behind `error`; the connector's own words for its own reasons, ours for a broken connection."""
    received = await read_failure(error, call)
    if not received.reason:
        if received.is_transient or received.code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return ConnectorUnavailable()
        return SourceFailed(
            reason="INTERNAL",
            message="connector_svc did not understand us; see the logs",
            transient=False,
            metadata={"code": received.code.name},
        )
    return SourceFailed(
        reason=received.reason,
        message=received.message,
        transient=received.is_transient,
        metadata=received.metadata,
        retry_after=received.retry_after,
    )
