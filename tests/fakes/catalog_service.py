"""An in-memory CatalogService: real syncs, items and issues, controlled by the test instead of by workers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar, cast
from uuid import uuid4

import grpc
from catalogsync.catalog.v1 import analysis_pb2
from catalogsync.catalog.v1 import catalog_service_pb2 as catalog
from catalogsync.catalog.v1.analysis_service_pb2_grpc import add_AnalysisServiceServicer_to_server
from catalogsync.catalog.v1.catalog_service_pb2_grpc import (
    CatalogServiceServicer,
    add_CatalogServiceServicer_to_server,
)
from catalogsync_common.auth.call_access import CallAccess
from catalogsync_common.drain import Drain
from catalogsync_common.failure import Failure, InvalidRequest, Resource
from catalogsync_common.interceptor import CallInterceptor
from catalogsync_common.server import Health
from google.protobuf.timestamp_pb2 import Timestamp

from tests.fakes.analysis_service import FakeAnalysis
from tests.fakes.image_analyses import ImageAnalyses

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
        self.products: dict[str, list[catalog.Product]] = {}
        self.floors: dict[str, int] = {}
        """By shop: changes at or below this position are purged."""
        self.incarnation = str(uuid4())
        self.issues: dict[str, list[catalog.SyncIssue]] = {}
        self.schedules: dict[str, catalog.ShopSchedule] = {}
        self.shops: dict[str, catalog.Shop] = {}
        """By name; a shop of which a test has stored items is registered when it is first named."""
        self.connections: dict[str, catalog.ConnectionHealth] = {}
        self.webhooks: dict[str, catalog.WebhookHealth] = {}
        """By name of the shop."""
        self.deletions: dict[str, catalog.ShopDeletion] = {}
        """By id of the shop."""
        self.analyzers: dict[str, list[str]] = {}
        """Those that are switched on, by name of the shop."""
        self.analyses = ImageAnalyses(self)
        """Of the images of items; served beside this servicer if it is given to the server."""
        self.audits: dict[str, catalog.CatalogAudit] = {}
        """The result of the next audits, by name of the shop."""
        self.last_audits: dict[str, catalog.AuditSummary] = {}
        """By name of the shop."""
        self.audits_break = False
        """Whether audits end without a result."""
        self.requests: list[tuple[str, Any, dict[str, str]]] = []
        """Every call: method, request, metadata."""
        self.item_changed = asyncio.Event()
        """Set by a test after it has changed items: watchers look again."""
        self.is_draining = False
        """Set by a test: watchers of items get a reconnect reason."""
        self.errors: dict[str, list[BaseException | None]] = {}
        """Per method, the errors that the next calls raise; None: that call succeeds."""
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
        self.page_gate: int | None = None
        """So many pages of items are answered, and later ones never; None: all of them."""
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

    def register(self, shop: ShopName, **fields: str) -> catalog.Shop:
        """Store a shop with a new id, and return it."""
        registered = catalog.Shop(
            shop_id=str(uuid4()), platform=shop.platform, domain=shop.domain, **cast("Any", fields)
        )
        self.shops[_key(shop)] = registered
        self.items.setdefault(_key(shop), [])
        return registered

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
            last_audit=self.last_audits.get(_key(_registered(request.shop))),
        )
        if self.analyzers_of(request.shop):
            _count_states(response, items)
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

    async def RegisterShop(
        self, request: catalog.RegisterShopRequest, context: Context
    ) -> catalog.RegisterShopResponse:
        self._record("RegisterShop", request, context)
        shop = catalog.ShopRef(platform=request.platform, domain=request.domain)
        known = self.shops.get(_key(shop))
        if known is None:
            known = self.register(shop, merchant_id=request.merchant_id, display_name=request.display_name)
        elif request.merchant_id not in ("", known.merchant_id):
            raise FailureWithReason(
                "SHOP_ALREADY_REGISTERED", "the shop is registered", metadata={"shop_id": known.shop_id}
            )
        return catalog.RegisterShopResponse(shop=self._details(known))

    async def GetShop(self, request: catalog.GetShopRequest, context: Context) -> catalog.GetShopResponse:
        self._record("GetShop", request, context)
        return catalog.GetShopResponse(shop=self._details(self._shop(request.shop)))

    async def ListShops(self, request: catalog.ListShopsRequest, context: Context) -> catalog.ListShopsResponse:
        self._record("ListShops", request, context)
        wanted = (request.merchant_id, request.platform, request.connection_state)
        found = [
            details
            for details in map(self._details, self.shops.values())
            if all(
                not value or value == stored
                for value, stored in zip(
                    wanted,
                    (details.shop.merchant_id, details.shop.platform, details.connection.state),
                    strict=True,
                )
            )
        ]
        found.sort(key=lambda details: details.shop.shop_id)
        page, token = _page(found, request.page_size or 50, request.page_token)
        return catalog.ListShopsResponse(shops=page, next_page_token=token)

    async def UpdateShop(self, request: catalog.UpdateShopRequest, context: Context) -> catalog.UpdateShopResponse:
        self._record("UpdateShop", request, context)
        shop, update, paths = self._shop(request.shop), request.update, request.update_mask.paths
        schedule = self._schedule(shop)
        for path in paths:
            if path in ("merchant_id", "display_name"):
                setattr(shop, path, getattr(update, path))
            elif path == "paused":
                schedule.paused = update.paused
            elif path == "analyzers":
                self.analyzers[_key(shop)] = list(update.analyzers)
            else:
                getattr(schedule, path).CopyFrom(getattr(update, path))
                is_default = not update.HasField(cast("Any", path))
                setattr(schedule, f"{path.removesuffix('_interval')}_is_default", is_default)
        self.schedules[_key(shop)] = schedule
        return catalog.UpdateShopResponse(shop=self._details(shop))

    async def DeleteShop(self, request: catalog.DeleteShopRequest, context: Context) -> catalog.DeleteShopResponse:
        """Mark the shop; the next call for its id deletes what is stored, and ends the deletion."""
        self._record("DeleteShop", request, context)
        deletion = self.deletions.get(request.shop.shop_id)
        if deletion is None:
            shop = self._shop(request.shop)
            del self.shops[_key(shop)]
            deletion = catalog.ShopDeletion(shop=shop)
            deletion.start_time.GetCurrentTime()
            self.deletions[shop.shop_id] = deletion
        elif not deletion.HasField("end_time"):
            self._purge(deletion)
        return catalog.DeleteShopResponse(deletion=deletion)

    async def IngestWebhook(
        self, request: catalog.IngestWebhookRequest, context: Context
    ) -> catalog.IngestWebhookResponse:
        """Ignore the delivery, as one of a shop that is not registered."""
        self._record("IngestWebhook", request, context)
        return catalog.IngestWebhookResponse(outcome=catalog.IngestWebhookResponse.OUTCOME_IGNORED)

    async def VerifyCatalog(
        self, request: catalog.VerifyCatalogRequest, context: Context
    ) -> AsyncIterator[catalog.VerifyCatalogResponse]:
        """Stream progress, and the audit of the shop, which the test has put into `audits`."""
        self._record("VerifyCatalog", request, context)
        audit = self.audits.get(_key(self._shop(request.shop)), catalog.CatalogAudit())
        progress = catalog.AuditProgress(checked_product_count=0, product_count=audit.checked_product_count)
        yield catalog.VerifyCatalogResponse(progress=progress)
        if not self.audits_break:
            yield catalog.VerifyCatalogResponse(audit=audit)

    def _purge(self, deletion: catalog.ShopDeletion) -> None:
        items = self.items.pop(_key(deletion.shop), [])
        syncs = self._of_shop(deletion.shop)
        for sync in syncs:
            deletion.issue_count += len(self.issues.pop(sync.sync_id, []))
            del self.syncs[sync.sync_id]
        deletion.item_count, deletion.sync_count = len(items), len(syncs)
        deletion.product_count = len({item.product_id for item in items})
        deletion.end_time.GetCurrentTime()

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
        if self.page_gate is not None:
            if self.page_gate == 0:
                await asyncio.Event().wait()
            self.page_gate -= 1
        if request.analysis_state and (
            request.text or request.sku or request.product_id or request.include_deleted
        ):
            raise InvalidRequest.of("analysis_state", "no other filter beside it")
        items = self._items(request.shop)
        position = max((item.feed_position for item in items), default=0)
        self._check_position(request, position)
        found = [item for item in items if _matches(item, request)]
        if request.after_position:
            found.sort(key=lambda item: (item.feed_position, item.item_id))
        page, token = _page(found, request.page_size or 100, request.page_token)
        return catalog.ListItemsResponse(
            items=page, next_page_token=token, position=0 if token else position, incarnation=self.incarnation
        )

    async def ListItemChanges(
        self, request: catalog.ListItemChangesRequest, context: Context
    ) -> catalog.ListItemChangesResponse:
        self._record("ListItemChanges", request, context)
        items, position, caught_up = self._changes(request.shop, request.after_position, request.page_size or 500)
        return catalog.ListItemChangesResponse(items=items, position=position, caught_up=caught_up)

    async def WatchItems(
        self, request: catalog.WatchItemsRequest, context: Context
    ) -> AsyncIterator[catalog.WatchItemsResponse]:
        self._record("WatchItems", request, context)
        position = request.after_position
        while not self.is_draining:
            items, position, caught_up = self._changes(request.shop, position, 500)
            yield catalog.WatchItemsResponse(items=items, position=position, caught_up=caught_up)
            while caught_up and not self.is_draining and not self._changes(request.shop, position, 1)[0]:
                self.item_changed.clear()
                await self.item_changed.wait()
        yield catalog.WatchItemsResponse(
            position=position,
            reconnect_reason=catalog.WatchSyncResponse.RECONNECT_REASON_SERVER_DRAINING,
        )

    async def WatchChanges(
        self, request: catalog.WatchChangesRequest, context: Context
    ) -> AsyncIterator[catalog.WatchChangesResponse]:
        """A position is the highest position of each shop."""
        self._record("WatchChanges", request, context)
        known: dict[str, int] = json.loads(request.after_position or "{}")
        while not self.is_draining:
            self.item_changed.clear()
            found = {key: max((i.feed_position for i in items), default=0) for key, items in self.items.items()}
            changed = [key for key, position in found.items() if position > known.get(key, 0)]
            known |= found
            yield catalog.WatchChangesResponse(
                changes=[self._changed_shop(key, found[key]) for key in changed],
                position=json.dumps(known),
                caught_up=True,
            )
            await self.item_changed.wait()
        yield catalog.WatchChangesResponse(
            position=json.dumps(known),
            reconnect_reason=catalog.WatchSyncResponse.RECONNECT_REASON_SERVER_DRAINING,
        )

    def _changed_shop(self, key: str, position: int) -> catalog.ChangedShop:
        platform, _, domain = key.partition(":")
        shop = self._shop(catalog.ShopRef(platform=platform, domain=domain))
        return catalog.ChangedShop(
            shop_id=shop.shop_id,
            platform=platform,
            domain=domain,
            merchant_id=shop.merchant_id,
            feed_position=position,
        )

    async def WatchSyncs(
        self, request: catalog.WatchSyncsRequest, context: Context
    ) -> AsyncIterator[catalog.WatchSyncsResponse]:
        """A position is the state of each sync."""
        self._record("WatchSyncs", request, context)
        is_first = not request.after_position
        known: dict[str, int] = json.loads(request.after_position or "{}")
        while True:
            states = {sync_id: int(sync.state) for sync_id, sync in self.syncs.items()}
            changed = [
                self.syncs[sync_id]
                for sync_id, state in states.items()
                if known.get(sync_id) != state and not (is_first and state in ENDED)
            ]
            known, is_first = states, False
            yield catalog.WatchSyncsResponse(syncs=changed, position=json.dumps(known), caught_up=True)
            async with self._changed:
                await self._changed.wait()

    def _changes(self, shop: catalog.ShopRef, after: str, limit: int) -> tuple[Sequence[catalog.Item], str, bool]:
        """Return items above a position, which here is an incarnation and a number, the new position, and whether
        these are all."""
        incarnation, _, number = after.partition("/")
        floor, known = self.floors.get(_key(shop), 0), int(number or 0)
        if after and (incarnation != self.incarnation or known < floor):
            raise FailureWithReason("POSITION_EXPIRED", "start with an empty position")
        changed = sorted(self._items(shop), key=lambda item: (item.feed_position, item.item_id))
        changed = [item for item in changed if item.feed_position > known]
        if not after:
            changed = [item for item in changed if not item.HasField("delete_time")]
        page = changed[:limit]
        position = page[-1].feed_position if page else known
        return page, f"{self.incarnation}/{position}", len(page) == len(changed)

    async def GetProduct(self, request: catalog.GetProductRequest, context: Context) -> catalog.GetProductResponse:
        self._record("GetProduct", request, context)
        for product in self._products(request.shop):
            if product.product_id == request.product_id:
                return catalog.GetProductResponse(product=product)
        metadata = {"product_id": request.product_id}
        raise FailureWithReason("PRODUCT_NOT_FOUND", "no such product", metadata=metadata)

    async def ListProducts(
        self, request: catalog.ListProductsRequest, context: Context
    ) -> catalog.ListProductsResponse:
        self._record("ListProducts", request, context)
        found = [
            product
            for product in self._products(request.shop)
            if request.text.lower() in product.title.lower()
            and (request.include_deleted or not product.HasField("delete_time"))
        ]
        page, token = _page(found, request.page_size or 50, request.page_token)
        return catalog.ListProductsResponse(products=page, next_page_token=token)

    def _check_position(self, request: catalog.ListItemsRequest, position: int) -> None:
        floor = self.floors.get(_key(request.shop), 0)
        is_known = not request.incarnation or request.incarnation == self.incarnation
        if not is_known or (request.after_position and not floor <= request.after_position <= position):
            metadata = {"position": str(position), "floor": str(floor), "incarnation": self.incarnation}
            raise FailureWithReason("POSITION_EXPIRED", "list again without a position", metadata=metadata)

    def items_of(self, shop: catalog.ShopRef) -> list[catalog.Item]:
        """Return the items of a shop, deleted ones included."""
        return self._items(shop)

    def analyzers_of(self, shop: catalog.ShopRef) -> Sequence[str]:
        """Return the analyzers that are switched on for a shop."""
        return self.analyzers.get(_key(self._shop(shop) if shop.shop_id else shop), ())

    def record(self, method: str, request: Any, context: Context) -> None:
        """Record a call of AnalysisService as one of this service."""
        self._record(method, request, context)

    def _record(self, method: str, request: Any, context: Context) -> None:
        metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        self.requests.append((method, request, metadata))
        error = self.errors[method].pop(0) if self.errors.get(method) else None
        if error is not None:
            raise error

    def _sync(self, sync_id: str) -> catalog.Sync:
        if sync_id not in self.syncs:
            raise FailureWithReason(
                "SYNC_NOT_FOUND", f"sync {sync_id!r} does not exist", metadata={"sync_id": sync_id}
            )
        return self.syncs[sync_id]

    def _of_shop(self, shop: ShopName) -> list[catalog.Sync]:
        if isinstance(shop, catalog.ShopRef) and shop.shop_id:
            shop = self._shop(shop)
        return [sync for sync in self.syncs.values() if _key(sync.shop) == _key(shop)]

    def _items(self, shop: ShopName) -> list[catalog.Item]:
        if isinstance(shop, catalog.ShopRef) and shop.shop_id:
            shop = self._shop(shop)
        if "." not in shop.domain:
            raise InvalidRequest.of("shop.domain", "a host name")
        if _key(shop) not in self.items:
            metadata = {"platform": shop.platform, "domain": shop.domain}
            raise FailureWithReason("SHOP_NOT_FOUND", f"shop {_key(shop)} was never synced", metadata=metadata)
        return self.items[_key(shop)]

    def _products(self, shop: catalog.ShopRef) -> list[catalog.Product]:
        return self.products.get(_key(self._shop(shop) if shop.shop_id else shop), [])

    def _shop(self, ref: catalog.ShopRef) -> catalog.Shop:
        if not ref.shop_id:
            self._items(ref)
            return self.shops.get(_key(ref)) or self.register(ref)
        found = [shop for shop in self.shops.values() if shop.shop_id == ref.shop_id]
        if not found:
            metadata = {"shop_id": ref.shop_id}
            raise FailureWithReason("SHOP_NOT_FOUND", f"there is no shop {ref.shop_id}", metadata=metadata)
        return found[0]

    def _details(self, shop: catalog.Shop) -> catalog.ShopDetails:
        details = catalog.ShopDetails(
            shop=shop,
            connection=self.connections.get(_key(shop)),
            schedule=self._schedule(shop),
            webhooks=self.webhooks.get(_key(shop)),
            analyzers=self.analyzers.get(_key(shop), ()),
        )
        details.create_time.CopyFrom(timestamp(1_700_000_000))
        return details

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
    """Serves a FakeCatalog and a FakeAnalysis on a port that stays the same when the server is started again."""

    def __init__(
        self, fake: FakeCatalog, *, analysis: FakeAnalysis | None = None, access: CallAccess | None = None
    ) -> None:
        self.fake = fake
        self.analysis = analysis or FakeAnalysis()
        self.port = 0
        self._access = access
        self._drain = Drain()
        self._server: grpc.aio.Server | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        interceptor = CallInterceptor(access=self._access)
        self._server = grpc.aio.server(interceptors=(interceptor,), options=(("grpc.so_reuseport", 0),))
        add_CatalogServiceServicer_to_server(self.fake, self._server)
        add_AnalysisServiceServicer_to_server(self.analysis, self._server)
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


def _count_states(response: catalog.GetStatusResponse, items: Sequence[catalog.Item]) -> None:
    states = [item.analysis.state for item in items]
    response.analysis.pending_item_count = states.count(analysis_pb2.ANALYSIS_STATE_PENDING)
    response.analysis.analyzed_item_count = states.count(analysis_pb2.ANALYSIS_STATE_ANALYZED)
    response.analysis.failed_item_count = states.count(analysis_pb2.ANALYSIS_STATE_FAILED)
    response.analyzed_item_count = response.analysis.analyzed_item_count


def _matches(item: catalog.Item, request: catalog.ListItemsRequest) -> bool:
    return (
        (not request.sku or item.sku == request.sku)
        and (not request.product_id or item.product_id == request.product_id)
        and request.text.lower() in f"{item.product_title} {item.title}".lower()
        and item.feed_position > request.after_position
        and request.analysis_state in (0, item.analysis.state)
        and (request.include_deleted or not item.HasField("delete_time"))
    )
