"""The client of connector_svc: fetching products, cancelling jobs, listing platforms, and mapping its errors."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, TypeAlias

import grpc
from catalogsync.connector.v1 import connector_service_pb2 as pb
from catalogsync.connector.v1.connector_service_pb2_grpc import ConnectorServiceStub
from catalogsync_common.call_context import outgoing_timeout
from catalogsync_common.rpc_spans import ClientCallSpan
from catalogsync_common.status import read_failure
from catalogsync_common.token_claims import SERVICE_SECRET_HEADER

from catalog_svc.domain.errors import ConnectorUnavailable, SourceFailed
from catalog_svc.domain.shop import PlatformInfo, ShopKey
from catalog_svc.domain.source import SourceEvent, SourceRequest
from catalog_svc.source import decode

_log = logging.getLogger(__name__)

CONNECTOR_CHANNEL: Final = json.dumps(
    {
        "loadBalancingConfig": [{"round_robin": {}}],
        "healthCheckConfig": {"serviceName": pb.DESCRIPTOR.services_by_name["ConnectorService"].full_name},
    }
)
"""gRPC's service config: each pass goes to the next connector of those that are SERVING."""
_CREDENTIALS_REJECTED: Final = frozenset({"UNAUTHENTICATED", "PERMISSION_DENIED", "TOKEN_EXPIRED"})
"""Reasons with which connector_svc rejects catalog_svc itself."""


_FetchCall: TypeAlias = grpc.aio.UnaryStreamCall[pb.FetchProductsRequest, pb.FetchProductsResponse]


@dataclass(frozen=True, kw_only=True, slots=True)
class CallCredentials:
    """What authenticates this service at the connector."""

    secret: str = field(default="", repr=False)
    """"name:secret"; empty: the connector does not authenticate its callers."""

    def metadata(self, span: ClientCallSpan) -> tuple[tuple[str, str], ...]:
        """Return the metadata of a call: the correlation id, the trace and the secret."""
        secret = ((SERVICE_SECRET_HEADER, self.secret),) if self.secret else ()
        return (*span.metadata(), *secret)


_NO_CREDENTIALS: Final = CallCredentials()


class ConnectorSource:
    """A `ProductSource` over one channel.

    The connector promises a message every 30 s. A stream without any message for `stall_timeout` is given up;
    there is no total deadline, since a pass takes as long as the platform needs.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        credentials: CallCredentials = _NO_CREDENTIALS,
        stall_timeout: timedelta = timedelta(seconds=60),
    ) -> None:
        self._stub = ConnectorServiceStub(channel)
        self._credentials = credentials
        self._stall_timeout = stall_timeout.total_seconds()

    async def fetch(self, request: SourceRequest) -> AsyncGenerator[SourceEvent, None]:
        """Yield the events of one pass. Raises SourceFailed."""
        message = _to_proto(request)
        with ClientCallSpan(message) as span:
            call = self._stub.FetchProducts(message, metadata=self._credentials.metadata(span))
            try:
                currency_code = ""
                while (received := await self._read(call, span)) is not None:
                    kind = received.WhichOneof("event")
                    if kind == "header":
                        currency_code = received.header.currency_code
                        yield decode.header(received.header)
                    elif kind == "batch":
                        yield decode.batch(received.batch, currency_code=currency_code)
                    elif kind == "waiting":
                        yield decode.waiting(received.waiting)
                    elif kind == "end":
                        yield decode.end(received.end)
            finally:
                # Leaving the loop does not end the call: the connector would continue to read the shop.
                call.cancel()

    async def _read(self, call: _FetchCall, span: ClientCallSpan) -> pb.FetchProductsResponse | None:
        """Read the next message; None at the end of the stream."""
        try:
            async with asyncio.timeout(self._stall_timeout):
                message = await call.read()
        except TimeoutError:
            span.set_code(grpc.StatusCode.DEADLINE_EXCEEDED)
            raise ConnectorUnavailable(
                f"connector_svc sent nothing for {self._stall_timeout:.0f} s; the sync retries"
            ) from None
        except grpc.aio.AioRpcError as error:
            span.set_code(error.code())
            raise await to_source_failure(error, call) from error
        return message if isinstance(message, pb.FetchProductsResponse) else None


class ConnectorJobs:
    """`PlatformJobs` over one channel."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        credentials: CallCredentials = _NO_CREDENTIALS,
        timeout: timedelta = timedelta(seconds=30),
    ) -> None:
        self._stub = ConnectorServiceStub(channel)
        self._credentials = credentials
        self._timeout = timeout.total_seconds()

    async def cancel_fetch(self, shop: ShopKey, checkpoint: bytes) -> bool:
        """Cancel the platform's job for the pass of this checkpoint.

        Returns:
            Whether a job was cancelled.

        Raises:
            SourceFailed: The connector or the platform did not do it.
        """
        request = pb.CancelFetchRequest(
            shop=pb.ShopRef(platform=shop.platform, domain=shop.domain), checkpoint=checkpoint
        )
        try:
            with ClientCallSpan(request) as span:
                response = await self._stub.CancelFetch(
                    request, timeout=self._timeout, metadata=self._credentials.metadata(span)
                )
        except grpc.aio.AioRpcError as error:
            raise await to_source_failure(error) from error
        return response.job_cancelled


class ConnectorPlatforms:
    """Platforms of the connector, cached without expiry.

    For an unknown name the list is fetched again, at most once per `refresh_interval`.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        credentials: CallCredentials = _NO_CREDENTIALS,
        timeout: timedelta = timedelta(seconds=5),
        refresh_interval: timedelta = timedelta(seconds=10),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stub = ConnectorServiceStub(channel)
        self._credentials = credentials
        self._timeout = timeout.total_seconds()
        self._refresh_interval = refresh_interval.total_seconds()
        self._monotonic = monotonic
        self._platforms: Mapping[str, PlatformInfo] = {}
        self._fetched_at: float | None = None

    async def find(self, name: str) -> PlatformInfo | None:
        """Return the platform; None when the connector does not support it. Raises ConnectorUnavailable."""
        if name not in self._platforms and self._may_refresh():
            await self._refresh()
        return self._platforms.get(name)

    async def names(self) -> list[str]:
        """Return the names of all platforms. Raises ConnectorUnavailable."""
        if not self._platforms:
            await self._refresh()
        return sorted(self._platforms)

    def _may_refresh(self) -> bool:
        return self._fetched_at is None or self._monotonic() - self._fetched_at >= self._refresh_interval

    async def _refresh(self) -> None:
        request = pb.ListPlatformsRequest()
        try:
            with ClientCallSpan(request) as span:
                response = await self._stub.ListPlatforms(
                    request, timeout=outgoing_timeout(self._timeout), metadata=self._credentials.metadata(span)
                )
        except grpc.aio.AioRpcError as error:
            raise await to_source_failure(error) from error
        self._platforms = {
            platform.name: PlatformInfo(
                name=platform.name,
                domain_pattern=platform.domain_pattern,
                incremental=platform.capabilities.incremental,
                webhooks=platform.capabilities.webhooks,
            )
            for platform in response.platforms
        }
        self._fetched_at = self._monotonic()


async def to_source_failure(error: grpc.aio.AioRpcError, call: grpc.aio.Call | None = None) -> SourceFailed:
    """Map an error of a call to a failure of the catalog.

    A reason of the connector keeps its message, metadata and retry delay. Without a reason the connection broke.
    """
    received = await read_failure(error, call)
    if received.reason in _CREDENTIALS_REJECTED:
        # The operator must act. A client of the catalog would take the reason for one about its own credentials.
        _log.error("connector_svc rejects this service: check CATALOG_CONNECTOR_SECRET and the certificates")
        return ConnectorUnavailable(
            "connector_svc rejected the credentials of catalog_svc; see the logs of connector_svc"
        )
    if not received.reason:
        if received.is_transient or received.code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return ConnectorUnavailable()
        return SourceFailed(
            reason="INTERNAL",
            message="connector_svc rejected the call; see the logs",
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
