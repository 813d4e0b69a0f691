"""Which platforms the connector supports."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import timedelta

import grpc
from catalogsync.connector.v1 import connector_service_pb2 as pb
from catalogsync.connector.v1.connector_service_pb2_grpc import ConnectorServiceStub
from catalogsync_common.call_context import outgoing_metadata

from catalog_svc.domain.shop import PlatformInfo
from catalog_svc.source.failures import to_source_failure


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
