"""The client of CatalogService and AnalysisService."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from copy import copy
from typing import Final, Protocol, Self, TypeVar
from uuid import uuid4

import grpc
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from catalogsync_common.client_tls import ClientTls
from catalogsync_common.status import ReceivedFailure
from google.protobuf.message import Message

from catalogsync_client.analysis_calls import AnalysisCalls
from catalogsync_client.caller import Caller, OpenStream
from catalogsync_client.channel import open_catalog_channel
from catalogsync_client.credentials import Credentials, NoCredentials
from catalogsync_client.paging import iterate_pages
from catalogsync_client.reasons import SyncAlreadyRunning, error_of
from catalogsync_client.resuming_stream import ConnectionCallback, ResumingStream, StreamMessage
from catalogsync_client.retry_policy import RetryPolicy
from catalogsync_client.shop import ShopLike, shop_ref
from catalogsync_client.sync_state import SyncNotSuccessful
from catalogsync_client.watch import WatchCall, watch

_START_ATTEMPTS: Final = 4


class FeedMessage(StreamMessage, Protocol):
    """A message of a feed, with the position after it."""

    @property
    def position(self) -> str: ...


F = TypeVar("F", bound=FeedMessage)
TRequest = TypeVar("TRequest", bound=Message)


class CatalogClient(AnalysisCalls):
    """A client of CatalogService and AnalysisService on one channel; an async context manager that closes it.

    Every method raises CatalogSyncError. Requests and responses are the messages of
    `catalogsync.catalog.v1.catalog_service_pb2` and `analysis_service_pb2`. Calls that are safe to repeat are
    repeated while the service is unavailable; after TOKEN_EXPIRED a call is made once more with a renewed token.
    Streams resume by themselves.

    A client may be used by any number of tasks of one event loop.
    """

    def __init__(
        self,
        address: str,
        *,
        credentials: Credentials | None = None,
        tls: ClientTls | None = None,
        timeout_seconds: float | None = None,
    ) -> None:
        """Create a client, which connects with its first call. Call this inside the running event loop.

        Args:
            address: "host:port" or any other gRPC target, such as "dns:///catalog.internal:50051".
            credentials: authenticate the calls; None: the service runs without authentication.
            tls: encrypts the connection and verifies the server; None: plaintext.
            timeout_seconds: the time limit of every unary call; None: the default of the call, mostly 10 s.
        """
        self._channel = open_catalog_channel(address, tls=tls)
        super().__init__(self._channel)
        self._stub = CatalogServiceStub(self._channel)
        self._caller = Caller(
            f"catalog_svc at {address}", credentials or NoCredentials(), timeout_seconds=timeout_seconds
        )

    def authenticated_by(self, credentials: Credentials) -> CatalogClient:
        """Return a client with other credentials on the same channel, such as the token of one merchant.

        Closing either of them closes the channel of both.
        """
        other = copy(self)
        other._caller = self._caller.authenticated_by(credentials)
        return other

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the channel; running calls end."""
        await self._channel.close()

    # Syncs

    async def start_sync(
        self,
        shop: ShopLike,
        *,
        mode: pb.Sync.Mode.ValueType = pb.Sync.MODE_UNSPECIFIED,
        request_id: str = "",
        allow_mass_delete: bool = False,
    ) -> pb.Sync:
        """Start a sync; the call is repeated while the service is unavailable, and starts one sync only.

        Args:
            shop: the shop; an unknown one is registered if it is named by platform and domain.
            mode: which products to read; unspecified: the changed ones if possible, else all.
            request_id: a UUID: later calls with the same one return the same sync; "": a new one.
            allow_mass_delete: whether the sync may delete more than the deletion guard allows.

        Raises:
            SyncAlreadyRunning: the shop has an active sync.
        """
        request = pb.StartSyncRequest(
            shop=shop_ref(shop),
            mode=mode,
            request_id=request_id or str(uuid4()),
            allow_mass_delete=allow_mass_delete,
        )
        return (await self._caller.call(self._stub.StartSync, request, max_attempts=_START_ATTEMPTS)).sync

    async def resume_sync(self, sync_id: str, *, request_id: str = "") -> pb.Sync:
        """Start a sync that resumes an ended one; the call is repeated while the service is unavailable.

        Args:
            sync_id: the ended sync.
            request_id: a UUID: later calls with the same one return the same sync; "": a new one.
        """
        request = pb.ResumeSyncRequest(sync_id=sync_id, request_id=request_id or str(uuid4()))
        return (await self._caller.call(self._stub.ResumeSync, request, max_attempts=_START_ATTEMPTS)).sync

    async def cancel_sync(self, sync_id: str) -> pb.Sync:
        """Cancel a sync; one that is cancelled already is returned as it is."""
        return (await self._caller.call(self._stub.CancelSync, pb.CancelSyncRequest(sync_id=sync_id))).sync

    async def get_sync(self, sync_id: str) -> pb.Sync:
        """Return the current snapshot of a sync."""
        return (await self._caller.call(self._stub.GetSync, pb.GetSyncRequest(sync_id=sync_id))).sync

    async def list_syncs(self, request: pb.ListSyncsRequest) -> pb.ListSyncsResponse:
        """Return one page of syncs, newest first."""
        return await self._caller.call(self._stub.ListSyncs, request)

    def syncs(self, request: pb.ListSyncsRequest) -> AsyncGenerator[pb.Sync, None]:
        """Yield all syncs that the request selects, page by page."""
        return iterate_pages(self.list_syncs, request, lambda page: page.syncs)

    async def list_issues(self, request: pb.ListSyncIssuesRequest) -> pb.ListSyncIssuesResponse:
        """Return one page of a sync's issues."""
        return await self._caller.call(self._stub.ListSyncIssues, request)

    def issues(self, sync_id: str) -> AsyncGenerator[pb.SyncIssue, None]:
        """Yield all issues of a sync, page by page."""
        request = pb.ListSyncIssuesRequest(sync_id=sync_id, page_size=500)
        return iterate_pages(self.list_issues, request, lambda page: page.issues)

    def watch(
        self,
        sync_id: str,
        *,
        after_revision: int = 0,
        on_connection: ConnectionCallback | None = None,
        retry_policy: RetryPolicy | None = None,
    ) -> AsyncGenerator[pb.Sync, None]:
        """Yield the sync's snapshots with growing revision; the terminal one comes last and is never missed.

        The stream resumes by itself when its connection breaks, its replica shuts down, freezes or dies, or the
        token expires. To stop early, close the generator (`contextlib.aclosing`).

        Args:
            sync_id: the sync.
            after_revision: the last revision that the caller has; 0: none.
            on_connection: called with a Disconnect when a stream broke, and with None when messages arrive again.
            retry_policy: time limits and backoff.
        """

        async def open_call(revision: int) -> WatchCall:
            request = pb.WatchSyncRequest(sync_id=sync_id, after_revision=revision)
            return await self._caller.open(self._stub.WatchSync, request)

        return watch(
            open_call,
            callee=self._caller.callee,
            after_revision=after_revision,
            on_connection=on_connection,
            retry_policy=retry_policy or RetryPolicy(),
            renew_token=self._caller.credentials.renew,
        )

    async def sync_and_wait(
        self,
        shop: ShopLike,
        *,
        mode: pb.Sync.Mode.ValueType = pb.Sync.MODE_UNSPECIFIED,
        request_id: str = "",
        allow_mass_delete: bool = False,
        join_running: bool = True,
        on_progress: Callable[[pb.Sync], None] | None = None,
    ) -> pb.Sync:
        """Start a sync, wait for its end and return its terminal snapshot.

        Args:
            shop: the shop.
            mode: which products to read.
            request_id: a UUID that identifies this call over restarts of the caller; "": a new one.
            allow_mass_delete: whether the sync may delete more than the deletion guard allows.
            join_running: whether to wait for the shop's active sync, whatever its mode, if there is one.
            on_progress: called with each snapshot, the terminal one included.

        Raises:
            SyncNotSuccessful: the sync FAILED or was CANCELLED.
            SyncAlreadyRunning: the shop has an active sync, and `join_running` is false.
        """
        try:
            sync = await self.start_sync(
                shop, mode=mode, request_id=request_id, allow_mass_delete=allow_mass_delete
            )
            sync_id = sync.sync_id
        except SyncAlreadyRunning as running:
            if not join_running:
                raise
            sync_id = running.sync_id
        last = pb.Sync()
        async with aclosing(self.watch(sync_id)) as snapshots:
            async for last in snapshots:
                if on_progress is not None:
                    on_progress(last)
        if last.state != pb.Sync.STATE_SUCCEEDED:
            raise SyncNotSuccessful(last)
        return last

    # Shops

    async def register_shop(self, request: pb.RegisterShopRequest) -> pb.ShopDetails:
        """Register a shop, or return the registered one; may be repeated."""
        return (await self._caller.call(self._stub.RegisterShop, request)).shop

    async def get_shop(self, shop: ShopLike) -> pb.ShopDetails:
        """Return a shop with its connection and its schedule."""
        return (await self._caller.call(self._stub.GetShop, pb.GetShopRequest(shop=shop_ref(shop)))).shop

    async def list_shops(self, request: pb.ListShopsRequest) -> pb.ListShopsResponse:
        """Return one page of shops."""
        return await self._caller.call(self._stub.ListShops, request)

    def shops(self, request: pb.ListShopsRequest) -> AsyncGenerator[pb.ShopDetails, None]:
        """Yield all shops that the request selects, page by page."""
        return iterate_pages(self.list_shops, request, lambda page: page.shops)

    async def update_shop(self, request: pb.UpdateShopRequest) -> pb.ShopDetails:
        """Change a shop and return it; may be repeated."""
        return (await self._caller.call(self._stub.UpdateShop, request)).shop

    async def delete_shop(self, shop: ShopLike) -> pb.ShopDeletion:
        """Begin the deletion of a shop, or return the one that has begun."""
        request = pb.DeleteShopRequest(shop=shop_ref(shop))
        return (await self._caller.call(self._stub.DeleteShop, request)).deletion

    async def get_status(self, shop: ShopLike) -> pb.GetStatusResponse:
        """Return the counts, freshness, last and active sync of a shop."""
        return await self._caller.call(self._stub.GetStatus, pb.GetStatusRequest(shop=shop_ref(shop)))

    # Products and items

    async def get_item(self, shop: ShopLike, item_id: str) -> pb.Item:
        """Return one item, deleted or not."""
        request = pb.GetItemRequest(shop=shop_ref(shop), item_id=item_id)
        return (await self._caller.call(self._stub.GetItem, request)).item

    async def list_items(self, request: pb.ListItemsRequest) -> pb.ListItemsResponse:
        """Return one page of a shop's items."""
        return await self._caller.call(self._stub.ListItems, request)

    def items(self, request: pb.ListItemsRequest) -> AsyncGenerator[pb.Item, None]:
        """Yield all items that the request selects, page by page."""
        return iterate_pages(self.list_items, request, lambda page: page.items)

    async def get_product(self, shop: ShopLike, product_id: str) -> pb.Product:
        """Return one product with its items, deleted or not."""
        request = pb.GetProductRequest(shop=shop_ref(shop), product_id=product_id)
        return (await self._caller.call(self._stub.GetProduct, request)).product

    async def list_products(self, request: pb.ListProductsRequest) -> pb.ListProductsResponse:
        """Return one page of a shop's products."""
        return await self._caller.call(self._stub.ListProducts, request)

    def products(self, request: pb.ListProductsRequest) -> AsyncGenerator[pb.Product, None]:
        """Yield all products that the request selects, page by page."""
        return iterate_pages(self.list_products, request, lambda page: page.products)

    # Changes

    def watch_items(
        self,
        shop: ShopLike,
        *,
        after_position: str = "",
        on_connection: ConnectionCallback | None = None,
        retry_policy: RetryPolicy | None = None,
    ) -> AsyncGenerator[pb.WatchItemsResponse, None]:
        """Yield the items of a shop and then their changes, without end.

        A consumer stores the position of a message with its items, in one transaction; `mirror_items` does the
        rest. The stream resumes by itself, after the position of the last message that was yielded.

        Raises:
            PositionExpired: the consumer must begin again without a position.
        """

        def request(position: str) -> pb.WatchItemsRequest:
            return pb.WatchItemsRequest(shop=shop_ref(shop), after_position=position)

        return self._feed(self._stub.WatchItems, request, after_position, on_connection, retry_policy)

    async def list_item_changes(self, request: pb.ListItemChangesRequest) -> pb.ListItemChangesResponse:
        """Return one page of the changes of a shop's items, for consumers that poll."""
        return await self._caller.call(self._stub.ListItemChanges, request)

    def watch_changes(
        self,
        *,
        merchant_id: str = "",
        after_position: str = "",
        on_connection: ConnectionCallback | None = None,
        retry_policy: RetryPolicy | None = None,
    ) -> AsyncGenerator[pb.WatchChangesResponse, None]:
        """Yield which shops have changed, of all shops or those of a merchant, without end."""

        def request(position: str) -> pb.WatchChangesRequest:
            return pb.WatchChangesRequest(merchant_id=merchant_id, after_position=position)

        return self._feed(self._stub.WatchChanges, request, after_position, on_connection, retry_policy)

    def watch_syncs(
        self,
        *,
        shop: ShopLike | None = None,
        merchant_id: str = "",
        after_position: str = "",
        on_connection: ConnectionCallback | None = None,
        retry_policy: RetryPolicy | None = None,
    ) -> AsyncGenerator[pb.WatchSyncsResponse, None]:
        """Yield the syncs whose state has changed, of all shops, one shop or those of a merchant, without end."""

        def request(position: str) -> pb.WatchSyncsRequest:
            ref = shop_ref(shop) if shop is not None else None
            return pb.WatchSyncsRequest(shop=ref, merchant_id=merchant_id, after_position=position)

        return self._feed(self._stub.WatchSyncs, request, after_position, on_connection, retry_policy)

    async def _feed(
        self,
        method: grpc.aio.UnaryStreamMultiCallable[TRequest, F],
        request: Callable[[str], TRequest],
        position: str,
        on_connection: ConnectionCallback | None,
        retry_policy: RetryPolicy | None,
    ) -> AsyncGenerator[F, None]:
        async def open_call() -> OpenStream[F]:
            return await self._caller.open(method, request(position))

        stream = ResumingStream(
            open_call,
            callee=self._caller.callee,
            retry_policy=retry_policy or RetryPolicy(),
            on_connection=on_connection,
            renew_token=self._caller.credentials.renew,
        )
        async with aclosing(stream.messages()) as messages:
            async for message in messages:
                position = message.position
                yield message

    # Webhooks and audits

    async def ingest_webhook(
        self, platform: str, body: bytes, headers: Iterable[tuple[str, str]], *, shop: ShopLike | None = None
    ) -> pb.IngestWebhookResponse:
        """Pass on a webhook delivery of a platform.

        Args:
            platform: "shopify", "woocommerce" or "bigcommerce".
            body: the raw body, byte for byte as received: the signature covers it.
            headers: names and values of the request's headers.
            shop: the shop of the URL, if deliveries of each shop have a URL of their own.

        Raises:
            WebhookSignatureInvalid: answer the platform with 401.
            WebhookBodyInvalid: answer the platform with 400.
        """
        request = pb.IngestWebhookRequest(
            platform=platform,
            body=body,
            headers=[pb.WebhookHeader(name=name, value=value) for name, value in headers],
            shop=shop_ref(shop) if shop is not None else None,
        )
        return await self._caller.call(self._stub.IngestWebhook, request)

    async def verify_catalog(
        self, shop: ShopLike, *, sample_size: int
    ) -> AsyncGenerator[pb.AuditProgress | pb.CatalogAudit, None]:
        """Yield the progress of an audit, and last its result; closing the generator ends the audit."""
        request = pb.VerifyCatalogRequest(shop=shop_ref(shop), sample_size=sample_size)
        async with aclosing(self._caller.stream(self._stub.VerifyCatalog, request)) as responses:
            async for response in responses:
                kind = response.WhichOneof("event")
                if kind == "audit":
                    yield response.audit
                    return
                if kind == "progress":
                    yield response.progress
        broken = ReceivedFailure(code=grpc.StatusCode.UNAVAILABLE, message="the stream ended without a result")
        raise error_of(broken, callee=self._caller.callee)
