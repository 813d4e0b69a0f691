"""CatalogService. Each method validates the request, calls one use case and converts its result."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

import grpc
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.catalog.v1.catalog_service_pb2_grpc import CatalogServiceServicer
from catalogsync_common.call_context import correlation_id
from catalogsync_common.principal import current_principal

from catalog_svc.domain.change_feed import ChangeKind
from catalog_svc.domain.sync import SyncPosition
from catalog_svc.rpc import catalog_pages, change_feed, convert, convert_audit, convert_catalog
from catalog_svc.rpc.convert import SnapshotMessages
from catalog_svc.rpc.item_feed import changes_response, decode_position, watch_messages
from catalog_svc.rpc.page_tokens import PageTokens, PositionNumber
from catalog_svc.rpc.request_validator import RequestValidator
from catalog_svc.rpc.shop_access import check_own, own_shops, restricted
from catalog_svc.usecases.catalog_ports import Issues
from catalog_svc.usecases.ingest_webhook import IngestWebhook
from catalog_svc.usecases.ports import Syncs
from catalog_svc.usecases.read_catalog import ReadCatalog
from catalog_svc.usecases.shops import DeleteShop, ManageShops
from catalog_svc.usecases.sync_commands import ChangeSync, StartSync
from catalog_svc.usecases.verify_catalog import VerifyCatalog
from catalog_svc.usecases.watch_changes import WatchChanges
from catalog_svc.usecases.watch_items import WatchItems
from catalog_svc.usecases.watch_sync import WatchSync

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class CatalogUseCases:
    """Use cases and readers that the servicer calls."""

    start: StartSync
    change: ChangeSync
    follow: WatchSync
    read: ReadCatalog
    watch_items: WatchItems
    watch_changes: WatchChanges
    shops: ManageShops
    delete_shop: DeleteShop
    ingest_webhook: IngestWebhook
    verify: VerifyCatalog
    syncs: Syncs
    issues: Issues


class CatalogServicer(CatalogServiceServicer):
    """Implements CatalogService. Methods raise Failures, which the interceptor maps to gRPC statuses."""

    def __init__(self, use_cases: CatalogUseCases, tokens: PageTokens) -> None:
        self._use = use_cases
        self._tokens = tokens
        self._messages = SnapshotMessages()

    async def RegisterShop(self, request: pb.RegisterShopRequest, context: Context) -> pb.RegisterShopResponse:
        validator = RequestValidator()
        key = validator.shop_key(request.platform, request.domain)
        merchant_id = validator.text("merchant_id", request.merchant_id)
        display_name = validator.text("display_name", request.display_name)
        validator.raise_if_any()
        registered = await self._use.shops.register(key, merchant_id=merchant_id, display_name=display_name)
        return pb.RegisterShopResponse(shop=convert.shop_details(registered))

    async def GetShop(self, request: pb.GetShopRequest, context: Context) -> pb.GetShopResponse:
        validator = RequestValidator()
        ref = validator.shop(request.shop)
        validator.raise_if_any()
        found = await self._use.shops.get(ref, same_store_of=own_shops())
        return pb.GetShopResponse(shop=convert.shop_details(found))

    async def ListShops(self, request: pb.ListShopsRequest, context: Context) -> pb.ListShopsResponse:
        validator = RequestValidator()
        which = restricted(validator.shop_filter(request))
        limit = validator.page_size(request.page_size, default=50, maximum=500)
        validator.raise_if_any()
        if which is None:
            return pb.ListShopsResponse()
        connection = which.connection.value if which.connection else None
        filters = {
            "list": "shops",
            "merchant_id": which.merchant_id,
            "domain": which.domain,
            "platform": which.platform,
            "connection_state": connection,
        }
        position = self._tokens.decode(request.page_token, filters=filters, kind=tuple[UUID])
        after = position[0] if position else None
        shops = await self._use.shops.page(which, after=after, limit=limit + 1, same_store_of=own_shops())
        more = self._tokens.encode((shops[limit - 1].shop.shop_id,), filters=filters) if len(shops) > limit else ""
        return pb.ListShopsResponse(shops=[convert.shop_details(s) for s in shops[:limit]], next_page_token=more)

    async def UpdateShop(self, request: pb.UpdateShopRequest, context: Context) -> pb.UpdateShopResponse:
        validator = RequestValidator()
        ref = validator.shop(request.shop)
        if not request.HasField("update"):
            validator.add_violation("update", "is required")
        change = validator.shop_change(request.update, request.update_mask)
        validator.raise_if_any()
        return pb.UpdateShopResponse(shop=convert.shop_details(await self._use.shops.update(ref, change)))

    async def DeleteShop(self, request: pb.DeleteShopRequest, context: Context) -> pb.DeleteShopResponse:
        validator = RequestValidator()
        ref = validator.shop(request.shop)
        validator.raise_if_any()
        return pb.DeleteShopResponse(deletion=convert.shop_deletion(await self._use.delete_shop(ref)))

    async def StartSync(self, request: pb.StartSyncRequest, context: Context) -> pb.StartSyncResponse:
        validator = RequestValidator()
        shop = validator.shop(request.shop)
        mode = validator.mode(request.mode)
        request_id = validator.request_id(request.request_id)
        validator.raise_if_any()
        started = await self._use.start(
            shop,
            mode,
            request_id=request_id,
            allow_mass_delete=request.allow_mass_delete,
            correlation_id=correlation_id.get(),
            principal=current_principal().id,
        )
        return pb.StartSyncResponse(sync=convert.sync(started))

    async def WatchSync(
        self, request: pb.WatchSyncRequest, context: Context
    ) -> AsyncGenerator[pb.WatchSyncResponse, None]:
        validator = RequestValidator()
        sync_id = validator.sync_id(request.sync_id)
        after_revision = validator.revision(request.after_revision)
        validator.raise_if_any()
        async with aclosing(self._use.follow(sync_id, after_revision)) as snapshots:
            async for snapshot in snapshots:
                yield self._messages.of(snapshot)

    async def GetStatus(self, request: pb.GetStatusRequest, context: Context) -> pb.GetStatusResponse:
        validator = RequestValidator()
        ref = validator.shop(request.shop)
        validator.raise_if_any()
        return convert.status(await self._use.read.status(ref))

    async def GetSync(self, request: pb.GetSyncRequest, context: Context) -> pb.GetSyncResponse:
        validator = RequestValidator()
        sync_id = validator.sync_id(request.sync_id)
        validator.raise_if_any()
        return pb.GetSyncResponse(sync=convert.sync(await self._use.syncs.get(sync_id)))

    async def ListSyncs(self, request: pb.ListSyncsRequest, context: Context) -> pb.ListSyncsResponse:
        validator = RequestValidator()
        ref = validator.shop(request.shop) if request.HasField("shop") else None
        states = validator.states(request.states)
        limit = validator.page_size(request.page_size, default=50, maximum=500)
        validator.raise_if_any()
        filters = {"list": "syncs", "shop": ref and str(ref), "states": [state.value for state in states]}
        position = self._tokens.decode(request.page_token, filters=filters, kind=tuple[datetime, UUID])
        shop = await self._use.read.shop(ref) if ref else None
        syncs = await self._use.syncs.page(
            shop=shop, states=states, before=SyncPosition(*position) if position else None, limit=limit + 1
        )
        more = ""
        if len(syncs) > limit:
            last = syncs[limit - 1]
            more = self._tokens.encode((last.created_at, last.sync_id), filters=filters)
        return pb.ListSyncsResponse(syncs=[convert.sync(s) for s in syncs[:limit]], next_page_token=more)

    async def CancelSync(self, request: pb.CancelSyncRequest, context: Context) -> pb.CancelSyncResponse:
        validator = RequestValidator()
        sync_id = validator.sync_id(request.sync_id)
        validator.raise_if_any()
        return pb.CancelSyncResponse(sync=convert.sync(await self._use.change.cancel(sync_id)))

    async def ResumeSync(self, request: pb.ResumeSyncRequest, context: Context) -> pb.ResumeSyncResponse:
        validator = RequestValidator()
        sync_id = validator.sync_id(request.sync_id)
        request_id = validator.request_id(request.request_id)
        validator.raise_if_any()
        resumed = await self._use.change.resume(
            sync_id,
            request_id=request_id,
            correlation_id=correlation_id.get(),
            principal=current_principal().id,
        )
        return pb.ResumeSyncResponse(sync=convert.sync(resumed))

    async def ListSyncIssues(
        self, request: pb.ListSyncIssuesRequest, context: Context
    ) -> pb.ListSyncIssuesResponse:
        validator = RequestValidator()
        sync_id = validator.sync_id(request.sync_id)
        limit = validator.page_size(request.page_size, default=50, maximum=500)
        validator.raise_if_any()
        filters = {"list": "issues", "sync_id": sync_id}
        position = self._tokens.decode(request.page_token, filters=filters, kind=tuple[PositionNumber])
        issues = await self._use.issues.page(sync_id, after=position[0] if position else 0, limit=limit + 1)
        more = self._tokens.encode((issues[limit - 1].number,), filters=filters) if len(issues) > limit else ""
        return pb.ListSyncIssuesResponse(issues=[convert.issue(i) for i in issues[:limit]], next_page_token=more)

    async def IngestWebhook(self, request: pb.IngestWebhookRequest, context: Context) -> pb.IngestWebhookResponse:
        validator = RequestValidator()
        delivery = validator.webhook(request)
        shop = validator.shop(request.shop) if request.HasField("shop") else None
        validator.raise_if_any()
        return convert.ingest_result(await self._use.ingest_webhook(delivery, shop))

    async def VerifyCatalog(
        self, request: pb.VerifyCatalogRequest, context: Context
    ) -> AsyncGenerator[pb.VerifyCatalogResponse, None]:
        validator = RequestValidator()
        ref = validator.shop(request.shop)
        sample_size = validator.sample_size(request.sample_size)
        validator.raise_if_any()
        async with aclosing(self._use.verify(ref, sample_size=sample_size)) as events:
            async for event in events:
                yield convert_audit.response(event)

    async def GetProduct(self, request: pb.GetProductRequest, context: Context) -> pb.GetProductResponse:
        validator = RequestValidator()
        ref = validator.shop(request.shop)
        product_id = validator.text("product_id", request.product_id, required=True)
        validator.raise_if_any()
        product = await self._use.read.product(ref, product_id)
        return pb.GetProductResponse(product=convert_catalog.product(product))

    async def ListProducts(self, request: pb.ListProductsRequest, context: Context) -> pb.ListProductsResponse:
        validator = RequestValidator()
        ref = validator.shop(request.shop)
        which = validator.product_filter(request)
        limit = validator.page_size(request.page_size, default=50, maximum=250)
        validator.raise_if_any()
        filters = catalog_pages.product_filters(ref, which)
        after = catalog_pages.product_cursor(self._tokens, request.page_token, filters)
        page = await self._use.read.products(ref, which, after=after, limit=limit)
        return catalog_pages.product_page(self._tokens, page, filters)

    async def GetItem(self, request: pb.GetItemRequest, context: Context) -> pb.GetItemResponse:
        validator = RequestValidator()
        ref = validator.shop(request.shop)
        item_id = validator.text("item_id", request.item_id, required=True)
        validator.raise_if_any()
        return pb.GetItemResponse(item=convert_catalog.item(await self._use.read.item(ref, item_id)))

    async def ListItems(self, request: pb.ListItemsRequest, context: Context) -> pb.ListItemsResponse:
        validator = RequestValidator()
        ref = validator.shop(request.shop)
        which = validator.item_filter(request)
        incarnation = validator.text("incarnation", request.incarnation)
        limit = validator.page_size(request.page_size, default=100, maximum=1000)
        validator.raise_if_any()
        filters = catalog_pages.item_filters(ref, which)
        after = catalog_pages.item_cursor(self._tokens, request.page_token, filters)
        page = await self._use.read.items(ref, which, incarnation=incarnation, after=after, limit=limit)
        return catalog_pages.item_page(self._tokens, page, filters)

    async def WatchItems(
        self, request: pb.WatchItemsRequest, context: Context
    ) -> AsyncGenerator[pb.WatchItemsResponse, None]:
        validator = RequestValidator()
        ref = validator.shop(request.shop)
        validator.raise_if_any()
        after = decode_position(request.after_position)
        async with aclosing(self._use.watch_items(ref, after)) as pages:
            async for page in pages:
                for message in watch_messages(page):
                    yield message

    async def ListItemChanges(
        self, request: pb.ListItemChangesRequest, context: Context
    ) -> pb.ListItemChangesResponse:
        validator = RequestValidator()
        ref = validator.shop(request.shop)
        limit = validator.page_size(request.page_size, default=500, maximum=1000)
        validator.raise_if_any()
        after = decode_position(request.after_position)
        return changes_response(await self._use.watch_items.page(ref, after, limit=limit))

    async def WatchChanges(
        self, request: pb.WatchChangesRequest, context: Context
    ) -> AsyncGenerator[pb.WatchChangesResponse, None]:
        validator = RequestValidator()
        merchant_id = validator.text("merchant_id", request.merchant_id)
        validator.raise_if_any()
        which = change_feed.own_filter(ChangeKind.SHOPS, merchant_id=merchant_id)
        after = change_feed.decode_position(request.after_position, ChangeKind.SHOPS)
        async with aclosing(self._use.watch_changes(which, after)) as pages:
            async for page in pages:
                for message in change_feed.change_messages(page):
                    yield message

    async def WatchSyncs(
        self, request: pb.WatchSyncsRequest, context: Context
    ) -> AsyncGenerator[pb.WatchSyncsResponse, None]:
        validator = RequestValidator()
        ref = validator.shop(request.shop) if request.HasField("shop") else None
        merchant_id = validator.text("merchant_id", request.merchant_id)
        validator.raise_if_any()
        shop = check_own(ref, await self._use.read.shop(ref)) if ref else None
        which = change_feed.own_filter(
            ChangeKind.SYNCS, shop_id=shop.shop_id if shop else None, merchant_id=merchant_id
        )
        after = change_feed.decode_position(request.after_position, ChangeKind.SYNCS)
        async with aclosing(self._use.watch_changes(which, after)) as pages:
            async for page in pages:
                for message in change_feed.sync_messages(page):
                    yield message
