"""Typed clients of the two services for the commands; every failed call raises CallFailed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from importlib.resources import files
from itertools import count
from typing import Final, TypeVar, cast

import grpc
from catalogsync.catalog.v1 import catalog_service_pb2 as catalog
from catalogsync.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from catalogsync.connector.v1 import connector_service_pb2 as connector
from catalogsync.connector.v1.connector_service_pb2_grpc import ConnectorServiceStub
from catalogsync_common.call_context import outgoing_metadata
from catalogsync_common.channel import open_channel
from catalogsync_common.loopback import is_loopback_target
from catalogsync_common.status import ReceivedFailure, read_failure
from catalogsync_common.token_claims import AUTHORIZATION_HEADER, SERVICE_SECRET_HEADER

from catalogsync_cli.command import CHECK_TIMEOUT_SECONDS, DEFAULT_TIMEOUT_SECONDS, Options, is_sendable
from catalogsync_cli.errors import CallFailed
from catalogsync_cli.output import print_notice
from catalogsync_cli.resuming_stream import ConnectionCallback, ResumingStream, RetryPolicy
from catalogsync_cli.shop import ShopName
from catalogsync_cli.watch_client import Stream, watch

TRequest = TypeVar("TRequest")
TResponse = TypeVar("TResponse")

_STREAM_SILENCE_SECONDS: Final = 60.0
_START_ATTEMPTS: Final = 4
_START_RETRY_POLICY: Final = RetryPolicy(initial_backoff_seconds=0.2, max_backoff_seconds=2.0)
"""Of calls that start a sync. gRPC does not repeat them: it does not know whether they have a request_id."""


class _Caller:
    """Makes calls to one service with the token, a deadline and readable errors."""

    def __init__(self, callee: str, *, options: Options, prefers_secret: bool = False) -> None:
        """Create a caller.

        Args:
            callee: name and address of the service, for error messages.
            options: with the credentials.
            prefers_secret: which credential is sent if both are given: the service secret, or else the token.
        """
        self.callee = callee
        self._prefers_secret = prefers_secret
        self._options = options
        self._timeout = options.timeout
        self._last_token = ""

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return the metadata of the next call: the correlation id, and the token or service secret if given."""
        self._last_token = token = self._token()
        secret = self._options.service_secret
        if secret and (self._prefers_secret or not token):
            return (*outgoing_metadata(), (SERVICE_SECRET_HEADER, secret))
        return (*outgoing_metadata(), *(((AUTHORIZATION_HEADER, f"Bearer {token}"),) if token else ()))

    def has_fresh_token(self) -> bool:
        """Return whether the token is another one than that of the last call."""
        return self._token() != self._last_token

    def _token(self) -> str:
        if self._options.token_file is None:
            return self._options.token
        try:
            token = self._options.token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            # Perhaps it is being replaced: the token of the last call may still be valid.
            return self._last_token
        return token if is_sendable(token) else ""

    async def call(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[TRequest, TResponse],
        request: TRequest,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        max_attempts: int = 1,
    ) -> TResponse:
        """Return the response.

        Args:
            method: the method of the stub.
            request: its request.
            timeout_seconds: the time limit of all attempts, unless the options set another one.
            max_attempts: how often to call before UNAVAILABLE is raised. The call must be idempotent.
        """
        seconds = self._timeout or timeout_seconds
        deadline = time.monotonic() + seconds
        for attempts in count():
            try:
                return await method(request, timeout=deadline - time.monotonic(), metadata=self.metadata())
            except grpc.aio.AioRpcError as error:
                failure = await read_failure(error)
            backoff = _START_RETRY_POLICY.backoff_seconds(failure, attempts=attempts)
            is_last = attempts + 1 >= max_attempts or time.monotonic() + backoff >= deadline
            if is_last or failure.code is not grpc.StatusCode.UNAVAILABLE:
                break
            await asyncio.sleep(backoff)
        raise CallFailed.of(failure, callee=self.callee, timeout=seconds)

    async def stream(
        self, method: grpc.aio.UnaryStreamMultiCallable[TRequest, TResponse], request: TRequest
    ) -> AsyncGenerator[TResponse, None]:
        """Yield the responses. Without a message for a minute, or `--timeout`, the stream counts as broken."""
        call = method(request, timeout=self._timeout, metadata=self.metadata())
        try:
            while True:
                try:
                    async with asyncio.timeout(_STREAM_SILENCE_SECONDS):
                        response = await call.read()
                except TimeoutError:
                    text = f"no message for {_STREAM_SILENCE_SECONDS:.0f} s"
                    silent = ReceivedFailure(code=grpc.StatusCode.UNAVAILABLE, message=text)
                    raise CallFailed.of(silent, callee=self.callee) from None
                except grpc.aio.AioRpcError as error:
                    failure = await read_failure(error, call)
                    raise CallFailed.of(failure, callee=self.callee, timeout=self._timeout) from None
                if response is grpc.aio.EOF:
                    return
                yield cast("TResponse", response)
        finally:
            call.cancel()


class CatalogClient:
    """A client of CatalogService on one channel. Every method raises CallFailed."""

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
        """Start a sync; the call is repeated while the service is unavailable.

        Args:
            shop: the shop; it is registered if it is unknown.
            mode: which products to read.
            request_id: a UUID: repeated calls with the same one return the same sync.
            allow_mass_delete: whether the sync may delete more than the deletion guard allows.
        """
        request = catalog.StartSyncRequest(
            shop=shop.for_catalog(), mode=mode, request_id=request_id, allow_mass_delete=allow_mass_delete
        )
        return (await self._caller.call(self._stub.StartSync, request, max_attempts=_START_ATTEMPTS)).sync

    async def resume_sync(self, sync_id: str, *, request_id: str) -> catalog.Sync:
        """Start a sync that resumes an ended one; the call is repeated while the service is unavailable.

        Args:
            sync_id: the ended sync.
            request_id: a UUID: repeated calls with the same one return the same sync.
        """
        request = catalog.ResumeSyncRequest(sync_id=sync_id, request_id=request_id)
        return (await self._caller.call(self._stub.ResumeSync, request, max_attempts=_START_ATTEMPTS)).sync

    async def cancel_sync(self, sync_id: str) -> catalog.Sync:
        """Cancel a sync."""
        request = catalog.CancelSyncRequest(sync_id=sync_id)
        return (await self._caller.call(self._stub.CancelSync, request)).sync

    async def get_sync(self, sync_id: str) -> catalog.Sync:
        """Return the current snapshot of a sync."""
        request = catalog.GetSyncRequest(sync_id=sync_id)
        return (await self._caller.call(self._stub.GetSync, request)).sync

    async def get_status(self, shop: ShopName) -> catalog.GetStatusResponse:
        """Return the status of a shop."""
        request = catalog.GetStatusRequest(shop=shop.for_catalog())
        return await self._caller.call(self._stub.GetStatus, request)

    async def register_shop(self, request: catalog.RegisterShopRequest) -> catalog.ShopDetails:
        """Register a shop, or return the registered one; may be repeated."""
        return (await self._caller.call(self._stub.RegisterShop, request)).shop

    async def get_shop(self, shop: catalog.ShopRef) -> catalog.ShopDetails:
        """Return a shop with its connection and its schedule."""
        return (await self._caller.call(self._stub.GetShop, catalog.GetShopRequest(shop=shop))).shop

    async def list_shops(self, request: catalog.ListShopsRequest) -> catalog.ListShopsResponse:
        """Return one page of shops."""
        return await self._caller.call(self._stub.ListShops, request)

    async def update_shop(self, request: catalog.UpdateShopRequest) -> catalog.ShopDetails:
        """Change a shop and return it; may be repeated."""
        return (await self._caller.call(self._stub.UpdateShop, request)).shop

    async def delete_shop(self, shop: catalog.ShopRef) -> catalog.ShopDeletion:
        """Begin the deletion of a shop, or return the one that has begun."""
        return (await self._caller.call(self._stub.DeleteShop, catalog.DeleteShopRequest(shop=shop))).deletion

    async def get_item(self, shop: ShopName, item_id: str) -> catalog.Item:
        """Return one item, deleted or not."""
        request = catalog.GetItemRequest(shop=shop.for_catalog(), item_id=item_id)
        return (await self._caller.call(self._stub.GetItem, request)).item

    async def get_product(self, shop: ShopName, product_id: str) -> catalog.Product:
        """Return one product with its items, deleted or not."""
        request = catalog.GetProductRequest(shop=shop.for_catalog(), product_id=product_id)
        return (await self._caller.call(self._stub.GetProduct, request)).product

    async def list_products(self, request: catalog.ListProductsRequest) -> catalog.ListProductsResponse:
        """Return one page of a shop's products."""
        return await self._caller.call(self._stub.ListProducts, request)

    async def list_syncs(self, request: catalog.ListSyncsRequest) -> catalog.ListSyncsResponse:
        """Return one page of syncs."""
        return await self._caller.call(self._stub.ListSyncs, request)

    async def list_issues(self, request: catalog.ListSyncIssuesRequest) -> catalog.ListSyncIssuesResponse:
        """Return one page of a sync's issues."""
        return await self._caller.call(self._stub.ListSyncIssues, request)

    async def list_items(self, request: catalog.ListItemsRequest) -> catalog.ListItemsResponse:
        """Return one page of a shop's items."""
        return await self._caller.call(self._stub.ListItems, request)

    async def verify_catalog(
        self, shop: ShopName, *, sample_size: int
    ) -> AsyncGenerator[catalog.AuditProgress | catalog.CatalogAudit, None]:
        """Yield the progress of an audit, and last its result; closing the generator ends the audit."""
        request = catalog.VerifyCatalogRequest(shop=shop.for_catalog(), sample_size=sample_size)
        async for response in self._caller.stream(self._stub.VerifyCatalog, request):
            kind = response.WhichOneof("event")
            if kind == "audit":
                yield response.audit
                return
            if kind == "progress":
                yield response.progress
        broken = ReceivedFailure(code=grpc.StatusCode.UNAVAILABLE, message="the stream ended without a result")
        raise CallFailed.of(broken, callee=self._caller.callee)

    def watch(
        self,
        sync_id: str,
        *,
        after_revision: int = 0,
        on_connection: ConnectionCallback | None = None,
        retry_policy: RetryPolicy | None = None,
    ) -> AsyncGenerator[catalog.Sync, None]:
        """Yield the sync's snapshots with growing revision; the terminal one comes last and is never missed.

        Reconnects by itself, see `catalogsync_cli.watch_client.watch`. To stop early, close the generator
        (`aclosing`).
        """

        def open_stream(revision: int) -> Stream:
            request = catalog.WatchSyncRequest(sync_id=sync_id, after_revision=revision)
            return self._stub.WatchSync(request, metadata=self._caller.metadata())

        return watch(
            open_stream,
            callee=self._caller.callee,
            after_revision=after_revision,
            on_connection=on_connection,
            retry_policy=retry_policy or RetryPolicy(),
            has_fresh_token=self._caller.has_fresh_token,
        )

    def follow_items(
        self,
        shop: ShopName,
        *,
        after_position: str = "",
        on_connection: ConnectionCallback | None = None,
        retry_policy: RetryPolicy | None = None,
    ) -> AsyncGenerator[catalog.WatchItemsResponse, None]:
        """Yield the items of a shop and then their changes, without end.

        Reconnects by itself, after the position of the last message that was yielded. A consumer stores that
        position with the items of the message.

        Raises CallFailed; with the reason POSITION_EXPIRED, the consumer must begin again without a position.
        """
        position = after_position

        def open_call() -> grpc.aio.UnaryStreamCall[catalog.WatchItemsRequest, catalog.WatchItemsResponse]:
            request = catalog.WatchItemsRequest(shop=shop.for_catalog(), after_position=position)
            return self._stub.WatchItems(request, metadata=self._caller.metadata())

        stream = ResumingStream(
            open_call,
            callee=self._caller.callee,
            retry_policy=retry_policy or RetryPolicy(),
            on_connection=on_connection,
            has_fresh_token=self._caller.has_fresh_token,
        )

        async def messages() -> AsyncGenerator[catalog.WatchItemsResponse, None]:
            nonlocal position
            async with aclosing(stream.messages()) as received:
                async for message in received:
                    position = message.position
                    yield message

        return messages()


class ConnectorClient:
    """A client of ConnectorService on one channel. Every method raises CallFailed."""

    def __init__(self, channel: grpc.aio.Channel, *, options: Options) -> None:
        self._stub = ConnectorServiceStub(channel)
        self._caller = _Caller(f"connector_svc at {options.connector}", options=options, prefers_secret=True)

    async def check_shop(self, shop: ShopName) -> connector.CheckShopResponse:
        """Check that the shop can be read; the error says why it cannot."""
        request = connector.CheckShopRequest(shop=shop.for_connector())
        return await self._caller.call(self._stub.CheckShop, request, timeout_seconds=CHECK_TIMEOUT_SECONDS)

    async def ensure_webhooks(self, shop: ShopName, address: str) -> Sequence[connector.WebhookSubscription]:
        """Create and enable the webhooks of the shop at the address, and return them."""
        request = connector.EnsureWebhooksRequest(shop=shop.for_connector(), address=address)
        call = self._caller.call(self._stub.EnsureWebhooks, request, timeout_seconds=CHECK_TIMEOUT_SECONDS)
        return (await call).webhooks

    async def list_platforms(self) -> connector.ListPlatformsResponse:
        """Return the supported platforms."""
        return await self._caller.call(self._stub.ListPlatforms, connector.ListPlatformsRequest())


@asynccontextmanager
async def open_catalog(options: Options) -> AsyncIterator[CatalogClient]:
    """Yield a client of catalog_svc, connected at its first call; close its channel at the end."""
    _warn_of_plaintext(options, options.catalog)
    config = files("catalogsync").joinpath("service_config.json").read_text(encoding="utf-8")
    async with open_channel(options.catalog, service_config=config, tls=options.client_tls()) as channel:
        yield CatalogClient(channel, options=options)


@asynccontextmanager
async def open_connector(options: Options) -> AsyncIterator[ConnectorClient]:
    """Yield a client of connector_svc, connected at its first call; close its channel at the end."""
    _warn_of_plaintext(options, options.connector)
    async with open_channel(options.connector, tls=options.client_tls()) as channel:
        yield ConnectorClient(channel, options=options)


def _warn_of_plaintext(options: Options, address: str) -> None:
    """Print a warning if credentials are sent to another machine without encryption."""
    has_credentials = bool(options.token or options.token_file or options.service_secret)
    if has_credentials and options.client_tls() is None and not is_loopback_target(address):
        print_notice(f"Warning: credentials are sent to {address} without encryption; use --tls or --ca-file")
