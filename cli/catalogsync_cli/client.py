"""The two services as a command calls them: one method for each thing asked, every refusal a `CallFailed`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import TypeVar

import grpc
from catalogsync.catalog.v1 import catalog_service_pb2 as catalog
from catalogsync.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from catalogsync.connector.v1 import connector_service_pb2 as connector
from catalogsync.connector.v1.connector_service_pb2_grpc import ConnectorServiceStub
from catalogsync_common.call_context import outgoing_metadata
from catalogsync_common.channel import open_channel
from catalogsync_common.status import read_failure

from catalogsync_cli.command import CHECK_TIMEOUT, DEFAULT_TIMEOUT, Options
from catalogsync_cli.errors import CallFailed
from catalogsync_cli.shop import ShopName
from catalogsync_cli.watch_client import Break, RetryPolicy, Stream, watch

Q = TypeVar("Q")
A = TypeVar("A")


class _Caller:
    """Makes calls to one service with the token, a deadline and readable errors."""

    def __init__(self, callee: str, *, options: Options) -> None:
        self.callee = callee
        self.token = options.token
        self.timeout = options.timeout

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with every call."""
        token = (("authorization", f"Bearer {self.token}"),) if self.token else ()
        return (*outgoing_metadata(), *token)

    async def call(
        self, method: grpc.aio.UnaryUnaryMultiCallable[Q, A], request: Q, *, seconds: float = DEFAULT_TIMEOUT
    ) -> A:
        """The answer, within `seconds` unless the options say otherwise."""
        seconds = self.timeout or seconds
        try:
            return await method(request, timeout=seconds, metadata=self.metadata)
        except grpc.aio.AioRpcError as error:
            failure = await read_failure(error)
            raise CallFailed.of(failure, callee=self.callee, timeout=seconds) from None


class CatalogClient:
    """CatalogService over one channel. Every method raises CallFailed."""

    def __init__(self, channel: grpc.aio.Channel, *, options: Options) -> None:
        self._stub = CatalogServiceStub(channel)
        self._caller = _Caller(f"catalog_svc at {options.catalog}", options=options)

    async def start_sync(
        self,
        shop: ShopName,
        *,
        mode: catalog.Sync.Mode.ValueType,
        request_id: str,
        allow_mass_delete: bool = False,
    ) -> catalog.Sync:
        """Orders a sync. With the same request_id it may be called again."""
        request = catalog.StartSyncRequest(
            shop=shop.for_catalog(), mode=mode, request_id=request_id, allow_mass_delete=allow_mass_delete
        )
        return (await self._caller.call(self._stub.StartSync, request)).sync

    async def resume_sync(self, sync_id: str, *, request_id: str) -> catalog.Sync:
        """Orders a sync that continues an ended one. With the same request_id it may be called again."""
        request = catalog.ResumeSyncRequest(sync_id=sync_id, request_id=request_id)
        return (await self._caller.call(self._stub.ResumeSync, request)).sync

    async def cancel_sync(self, sync_id: str) -> catalog.Sync:
        """Ends a sync."""
        request = catalog.CancelSyncRequest(sync_id=sync_id)
        return (await self._caller.call(self._stub.CancelSync, request)).sync

    async def get_sync(self, sync_id: str) -> catalog.Sync:
        """One sync as it is now."""
        request = catalog.GetSyncRequest(sync_id=sync_id)
        return (await self._caller.call(self._stub.GetSync, request)).sync

    async def get_status(self, shop: ShopName) -> catalog.GetStatusResponse:
        """How a shop stands."""
        request = catalog.GetStatusRequest(shop=shop.for_catalog())
        return await self._caller.call(self._stub.GetStatus, request)

    async def set_schedule(self, request: catalog.SetShopScheduleRequest) -> catalog.ShopSchedule:
        """Changes how often a shop is synced without being asked; may be called again."""
        return (await self._caller.call(self._stub.SetShopSchedule, request)).schedule

    async def get_item(self, shop: ShopName, item_id: str) -> catalog.Item:
        """One item, deleted or not."""
        request = catalog.GetItemRequest(shop=shop.for_catalog(), item_id=item_id)
        return (await self._caller.call(self._stub.GetItem, request)).item

    async def list_syncs(self, request: catalog.ListSyncsRequest) -> catalog.ListSyncsResponse:
        """One page of syncs."""
        return await self._caller.call(self._stub.ListSyncs, request)

    async def list_issues(self, request: catalog.ListSyncIssuesRequest) -> catalog.ListSyncIssuesResponse:
        """One page of a sync's issues."""
        return await self._caller.call(self._stub.ListSyncIssues, request)

    async def list_items(self, request: catalog.ListItemsRequest) -> catalog.ListItemsResponse:
        """One page of a shop's items."""
        return await self._caller.call(self._stub.ListItems, request)

    def watch(
        self,
        sync_id: str,
        *,
        after_revision: int = 0,
        on_link: Callable[[Break | None], None] | None = None,
        patience: RetryPolicy | None = None,
    ) -> AsyncGenerator[catalog.Sync, None]:
        """The sync's snapshots with growing revision, the terminal one last and never missed.

        Reconnects by itself, see `catalogsync_cli.watch_client.watch`. Close it (`aclosing`) when leaving early.
        """

        def open_stream(revision: int) -> Stream:
            request = catalog.WatchSyncRequest(sync_id=sync_id, after_revision=revision)
            return self._stub.WatchSync(request, metadata=self._caller.metadata)

        return watch(
            open_stream,
            callee=self._caller.callee,
            after_revision=after_revision,
            on_link=on_link,
            patience=patience or RetryPolicy(),
        )


class ConnectorClient:
    """ConnectorService over one channel. Every method raises CallFailed."""

    def __init__(self, channel: grpc.aio.Channel, *, options: Options) -> None:
        self._stub = ConnectorServiceStub(channel)
        self._caller = _Caller(f"connector_svc at {options.connector}", options=options)

    async def check_shop(self, shop: ShopName) -> connector.CheckShopResponse:
        """Whether the shop can be read; an error says why not."""
        request = connector.CheckShopRequest(shop=shop.for_connector())
        return await self._caller.call(self._stub.CheckShop, request, seconds=CHECK_TIMEOUT)

    async def list_platforms(self) -> connector.ListPlatformsResponse:
        """What is supported."""
        return await self._caller.call(self._stub.ListPlatforms, connector.ListPlatformsRequest())


@asynccontextmanager
async def open_catalog(options: Options) -> AsyncIterator[CatalogClient]:
    """A client of catalog_svc; nothing is sent before the first call. The channel is closed on leaving."""
    config = files("catalogsync").joinpath("service_config.json").read_text(encoding="utf-8")
    async with open_channel(options.catalog, service_config=config) as channel:
        yield CatalogClient(channel, options=options)


@asynccontextmanager
async def open_connector(options: Options) -> AsyncIterator[ConnectorClient]:
    """A client of connector_svc; nothing is sent before the first call. The channel is closed on leaving."""
    async with open_channel(options.connector) as channel:
        yield ConnectorClient(channel, options=options)
