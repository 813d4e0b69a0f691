"""An in-memory CatalogService: real syncs, items and issues, controlled by the test instead of by workers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar, cast
from uuid import uuid4

import grpc
from catalogsync.catalog.v1 import catalog_service_pb2 as catalog
from catalogsync.catalog.v1.catalog_service_pb2_grpc import (
    CatalogServiceServicer,
    add_CatalogServiceServicer_to_server,
)
from catalogsync_common.drain import Drain
from catalogsync_common.failure import Failure, InvalidRequest, Resource
from catalogsync_common.interceptor import CallInterceptor
from catalogsync_common.server import Health
from google.protobuf.timestamp_pb2 import Timestamp

ENDED = (catalog.Sync.STATE_SUCCEEDED, catalog.Sync.STATE_FAILED, catalog.Sync.STATE_CANCELLED)
Context = Any
ShopName = catalog.Shop | catalog.ShopRef
R = TypeVar("R")


class FailureWithReason(Failure):
    """A failure with the reason that a test needs."""

    def __init__(self, reason: str, message: str = "refused", **more: Any) -> None:
        super().__init__(message, **more)
        self.reason = reason


class FakeCatalog(CatalogServiceServicer):
    """A servicer whose store outlives the servers that serve it, as a database does: see `CatalogServer`."""

    def __init__(self) -> None:
        self.syncs: dict[str, catalog.Sync] = {}
        self.items: dict[str, list[catalog.Item]] = {}
        self.issues: dict[str, list[catalog.SyncIssue]] = {}
        self.schedules: dict[str, catalog.ShopSchedule] = {}
        self.requests: list[tuple[str, Any, dict[str, str]]] = []
        """Every call: method, request, metadata."""
        self.errors: dict[str, list[BaseException]] = {}
        """Per method, the errors that the next calls raise."""
        self.execute: Callable[[FakeCatalog, str], Awaitable[None]] | None = None
        """The sync execution, run as a task for every started sync."""
        self.stalled = False
        """Whether watches neither send a message nor end."""
        self.cancels_next_watch = False
        """Whether the next watch ends with CANCELLED."""
        self.ends_next_watch = False
        """Whether the next watch ends with OK after its first message, without a reason."""
        self.reconnects: list[catalog.WatchSyncResponse.ReconnectReason.ValueType] = []
        """Why the next watches end with OK after their first message."""
        self.watcher_count = 0
        self._by_request: dict[str, tuple[catalog.StartSyncRequest, str]] = {}
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    async def change(self, sync_id: str, **fields: Any) -> None:
        """Set fields of a sync (messages are copied), increase its revision and wake the watchers."""
        sync = self.syncs[sync_id]
        fresh = catalog.Sync.FromString(sync.SerializeToString())
        for name, value in fields.items():
            if value is None:
                cast("Any", fresh).ClearField(name)
            elif hasattr(value, "CopyFrom"):
                getattr(fresh, name).CopyFrom(value)
            else:
                setattr(fresh, name, value)
        fresh.revision = sync.revision + 1
        if fresh.state in ENDED and not fresh.HasField("end_time"):
            fresh.end_time.GetCurrentTime()
        async with self._changed:
            self.syncs[sync_id] = fresh
            self._changed.notify_all()

    async def move_in_queue(self, sync_id: str, position: int) -> None:
        """Set the position of a sync without a new revision, and send it to the watchers as a heartbeat."""
        fresh = catalog.Sync.FromString(self.syncs[sync_id].SerializeToString())
        fresh.queue_position = position
        async with self._changed:
            self.syncs[sync_id] = fresh
            self._changed.notify_all()

    async def close(self) -> None:
        """Cancel the running sync executions."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def add_sync(self, shop: catalog.Shop, **fields: Any) -> catalog.Sync:
        """Store a sync at revision 1; PENDING unless `fields` say otherwise."""
        fields = {
            "state": catalog.Sync.STATE_PENDING,
            "mode": catalog.Sync.MODE_FULL,
            "attempt_count": 1,
            "progress": catalog.Progress(),
            **fields,
        }
        sync = catalog.Sync(sync_id=str(uuid4()), shop=shop, revision=1, correlation_id="c0ffee", **fields)
        sync.create_time.GetCurrentTime()
        self.syncs[sync.sync_id] = sync
        return sync

    async def StartSync(self, request: catalog.StartSyncRequest, context: Context) -> catalog.StartSyncResponse:
        self._record("StartSync", request, context)
        if request.request_id in self._by_request:
            earlier, sync_id = self._by_request[request.request_id]
            if earlier != request:
                raise FailureWithReason("REQUEST_ID_REUSED", "the request_id was used before")
            return catalog.StartSyncResponse(sync=self.syncs[sync_id])
        self._raise_if_active(request.shop)
        sync = self.add_sync(_registered(request.shop), mode=request.mode or catalog.Sync.MODE_FULL)
        self._by_request[request.request_id] = (request, sync.sync_id)
        if self.execute is not None:
            task = asyncio.ensure_future(self.execute(self, sync.sync_id))
            self._tasks.add(task)
        return catalog.StartSyncResponse(sync=sync)

    async def WatchSync(
        self, request: catalog.WatchSyncRequest, context: Context
    ) -> AsyncIterator[catalog.WatchSyncResponse]:
        self._record("WatchSync", request, context)
        if request.after_revision > self._sync(request.sync_id).revision:
            raise FailureWithReason("REVISION_IN_FUTURE", "after_revision is above the sync's revision")
        self.watcher_count += 1
        try:
            async for response in self._stream(request, context):
                yield response
        finally:
            self.watcher_count -= 1

    async def _stream(
        self, request: catalog.WatchSyncRequest, context: Context
    ) -> AsyncIterator[catalog.WatchSyncResponse]:
        if self.cancels_next_watch:
            self.cancels_next_watch = False
            await context.abort(grpc.StatusCode.CANCELLED, "the server cancels")
        seen = request.after_revision
        while True:
            if self.stalled:
                await asyncio.Event().wait()
            sync = self._sync(request.sync_id)
            none = catalog.WatchSyncResponse.RECONNECT_REASON_UNSPECIFIED
            reconnect = self.reconnects.pop(0) if self.reconnects else none
            yield catalog.WatchSyncResponse(sync=sync, heartbeat=sync.revision == seen, reconnect_reason=reconnect)
            if sync.state in ENDED or reconnect or self.ends_next_watch:
                self.ends_next_watch = False
                return
            seen = sync.revision
            async with self._changed:
                while self._sync(request.sync_id) is sync:
                    await self._changed.wait()

    async def GetStatus(self, request: catalog.GetStatusRequest, context: Context) -> catalog.GetStatusResponse:
        self._record("GetStatus", request, context)
        items = [item for item in self._items(request.shop) if not item.HasField("delete_time")]
        response = catalog.GetStatusResponse(
            shop=_registered(request.shop),
            product_count=len({item.product_id for item in items}),
            item_count=len(items),
            item_with_image_count=sum(bool(item.image_url) for item in items),
            schedule=self._schedule(request.shop),
        )
        for sync in self._of_shop(request.shop):
            (response.last_finished_sync if sync.state in ENDED else response.active_sync).CopyFrom(sync)
            if sync.state == catalog.Sync.STATE_SUCCEEDED:
                response.notes[:] = sync.notes
        return response

    async def GetSync(self, request: catalog.GetSyncRequest, context: Context) -> catalog.GetSyncResponse:
        self._record("GetSync", request, context)
        return catalog.GetSyncResponse(sync=self._sync(request.sync_id))

    async def ListSyncs(self, request: catalog.ListSyncsRequest, context: Context) -> catalog.ListSyncsResponse:
        self._record("ListSyncs", request, context)
        syncs = self._of_shop(request.shop) if request.HasField("shop") else list(self.syncs.values())
        found = [sync for sync in reversed(syncs) if not request.states or sync.state in request.states]
        page, token = _page(found, request.page_size or 50, request.page_token)
        return catalog.ListSyncsResponse(syncs=page, next_page_token=token)

    async def CancelSync(self, request: catalog.CancelSyncRequest, context: Context) -> catalog.CancelSyncResponse:
        self._record("CancelSync", request, context)
        if self._sync(request.sync_id).state in ENDED:
            metadata = {"sync_id": request.sync_id}
            raise FailureWithReason("SYNC_NOT_CANCELLABLE", "the sync has ended already", metadata=metadata)
        await self.change(request.sync_id, state=catalog.Sync.STATE_CANCELLED)
        return catalog.CancelSyncResponse(sync=self.syncs[request.sync_id])

    async def ResumeSync(self, request: catalog.ResumeSyncRequest, context: Context) -> catalog.ResumeSyncResponse:
        self._record("ResumeSync", request, context)
        parent = self._sync(request.sync_id)
        if parent.state not in (catalog.Sync.STATE_FAILED, catalog.Sync.STATE_CANCELLED):
            raise FailureWithReason("SYNC_NOT_RESUMABLE", "the sync cannot be resumed")
        self._raise_if_active(parent.shop)
        return catalog.ResumeSyncResponse(sync=self.add_sync(parent.shop, parent_sync_id=parent.sync_id))

    async def SetShopSchedule(
        self, request: catalog.SetShopScheduleRequest, context: Context
    ) -> catalog.SetShopScheduleResponse:
        self._record("SetShopSchedule", request, context)
        self._items(request.shop)
        if request.reset:
            self.schedules.pop(_key(request.shop), None)
        schedule = self._schedule(request.shop)
        for name in ("incremental_interval", "full_interval"):
            if request.HasField(name):
                getattr(schedule, name).CopyFrom(getattr(request, name))
        schedule.incremental_is_default &= not request.HasField("incremental_interval")
        schedule.full_is_default &= not request.HasField("full_interval")
        if request.HasField("paused"):
            schedule.paused = request.paused
        self.schedules[_key(request.shop)] = schedule
        return catalog.SetShopScheduleResponse(schedule=schedule)

    async def ListSyncIssues(
        self, request: catalog.ListSyncIssuesRequest, context: Context
    ) -> catalog.ListSyncIssuesResponse:
        self._record("ListSyncIssues", request, context)
        issues = self.issues.get(self._sync(request.sync_id).sync_id, [])
        page, token = _page(issues, request.page_size or 50, request.page_token)
        return catalog.ListSyncIssuesResponse(issues=page, next_page_token=token)

    async def GetItem(self, request: catalog.GetItemRequest, context: Context) -> catalog.GetItemResponse:
        self._record("GetItem", request, context)
        for item in self._items(request.shop):
            if item.item_id == request.item_id:
                return catalog.GetItemResponse(item=item)
        raise FailureWithReason("ITEM_NOT_FOUND", "no such item", metadata={"item_id": request.item_id})

    async def ListItems(self, request: catalog.ListItemsRequest, context: Context) -> catalog.ListItemsResponse:
        self._record("ListItems", request, context)
        found = [item for item in self._items(request.shop) if _matches(item, request)]
        page, token = _page(found, request.page_size or 100, request.page_token)
        return catalog.ListItemsResponse(items=page, next_page_token=token)

    def _record(self, method: str, request: Any, context: Context) -> None:
        metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        self.requests.append((method, request, metadata))
        if self.errors.get(method):
            raise self.errors[method].pop(0)

    def _sync(self, sync_id: str) -> catalog.Sync:
        if sync_id not in self.syncs:
            raise FailureWithReason(
                "SYNC_NOT_FOUND", f"sync {sync_id!r} does not exist", metadata={"sync_id": sync_id}
            )
        return self.syncs[sync_id]

    def _of_shop(self, shop: ShopName) -> list[catalog.Sync]:
        return [sync for sync in self.syncs.values() if _key(sync.shop) == _key(shop)]

    def _items(self, shop: ShopName) -> list[catalog.Item]:
        if "." not in shop.domain:
            raise InvalidRequest.of("shop.domain", "a host name")
        if _key(shop) not in self.items:
            metadata = {"platform": shop.platform, "domain": shop.domain}
            raise FailureWithReason("SHOP_NOT_FOUND", f"shop {_key(shop)} was never synced", metadata=metadata)
        return self.items[_key(shop)]

    def _schedule(self, shop: ShopName) -> catalog.ShopSchedule:
        unset = catalog.ShopSchedule(incremental_is_default=True, full_is_default=True)
        return self.schedules.get(_key(shop), unset)

    def _raise_if_active(self, shop: ShopName) -> None:
        for sync in self._of_shop(shop):
            if sync.state not in ENDED:
                raise FailureWithReason(
                    "SYNC_ALREADY_RUNNING",
                    f"shop {_key(shop)} has an active sync",
                    metadata={"sync_id": sync.sync_id},
                    resource=Resource(type="catalogsync.catalog.v1.Sync", name=sync.sync_id),
                )


class CatalogServer:
    """Serves a FakeCatalog on a port that stays the same when the server is killed and started again."""

    def __init__(self, fake: FakeCatalog) -> None:
        self.fake = fake
        self.port = 0
        self._drain = Drain()
        self._server: grpc.aio.Server | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = grpc.aio.server(interceptors=(CallInterceptor(),), options=(("grpc.so_reuseport", 0),))
        add_CatalogServiceServicer_to_server(self.fake, self._server)
        health = Health(("catalogsync.catalog.v1.CatalogService",), drain=self._drain)
        health.register(self._server)
        await health.set_serving(True)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def kill(self) -> None:
        """Stop without a grace period: every call breaks."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None


def timestamp(seconds: float) -> Timestamp:
    """Return seconds since 1970 as a Timestamp."""
    stamp = Timestamp()
    stamp.FromNanoseconds(round(seconds * 1e9))
    return stamp


def _registered(shop: catalog.ShopRef) -> catalog.Shop:
    return catalog.Shop(platform=shop.platform, domain=shop.domain)


def _key(shop: ShopName) -> str:
    return f"{shop.platform}:{shop.domain}"


def _page(records: Sequence[R], size: int, token: str) -> tuple[Sequence[R], str]:
    start = int(token or 0)
    return records[start : start + size], str(start + size) if start + size < len(records) else ""


def _matches(item: catalog.Item, request: catalog.ListItemsRequest) -> bool:
    return (
        (not request.sku or item.sku == request.sku)
        and (not request.product_id or item.product_id == request.product_id)
        and request.text.lower() in f"{item.product_title} {item.title}".lower()
        and (not request.HasField("updated_after") or item.update_time.seconds > request.updated_after.seconds)
        and (request.include_deleted or not item.HasField("delete_time"))
    )
