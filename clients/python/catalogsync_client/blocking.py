"""The client for programs without an event loop: scripts, notebooks, cron jobs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from typing import Self, TypeVar

from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync_common.client_tls import ClientTls

from catalogsync_client.client import CatalogClient
from catalogsync_client.credentials import Credentials
from catalogsync_client.shop import ShopLike

T = TypeVar("T")


class BlockingCatalogClient:
    """Runs a CatalogClient on an event loop in a thread of its own; a context manager.

    `run` makes any call of CatalogClient, `iterate` reads any of its iterators and streams:

        with BlockingCatalogClient("127.0.0.1:50051", credentials=BearerToken(token)) as catalog:
            catalog.sync_and_wait("shopify:demo.myshopify.com")
            status = catalog.run(lambda client: client.get_status("shopify:demo.myshopify.com"))
            for item in catalog.iterate(lambda client: client.items(request)):
                ...

    It may be used by several threads. Errors are those of CatalogClient.
    """

    def __init__(
        self,
        address: str,
        *,
        credentials: Credentials | None = None,
        tls: ClientTls | None = None,
        timeout_seconds: float | None = None,
    ) -> None:
        """Create a client; the arguments are those of CatalogClient."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="catalogsync-client", daemon=True)
        self._thread.start()

        async def connect() -> CatalogClient:
            return CatalogClient(address, credentials=credentials, tls=tls, timeout_seconds=timeout_seconds)

        self._client = self._wait(connect())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the channel and end the thread; may be called again."""
        if self._loop.is_closed():
            return
        self._wait(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, call: Callable[[CatalogClient], Awaitable[T]]) -> T:
        """Return the result of a call."""

        async def result() -> T:
            return await call(self._client)

        return self._wait(result())

    def iterate(self, open_iterator: Callable[[CatalogClient], AsyncGenerator[T, None]]) -> Iterator[T]:
        """Yield what an iterator or stream of the client yields; leaving the loop closes it."""

        async def opened() -> AsyncGenerator[T, None]:
            return open_iterator(self._client)

        generator = self._wait(opened())
        try:
            while True:
                try:
                    yield self._wait(anext(generator))
                except StopAsyncIteration:
                    return
        finally:
            self._wait(generator.aclose())

    def sync_and_wait(
        self,
        shop: ShopLike,
        *,
        mode: pb.Sync.Mode.ValueType = pb.Sync.MODE_UNSPECIFIED,
        request_id: str = "",
        on_progress: Callable[[pb.Sync], None] | None = None,
    ) -> pb.Sync:
        """Start a sync, wait for its end and return its terminal snapshot; see CatalogClient.sync_and_wait.

        Args:
            on_progress: called in the client's thread.
        """
        return self.run(
            lambda client: client.sync_and_wait(shop, mode=mode, request_id=request_id, on_progress=on_progress)
        )

    def _wait(self, awaitable: Awaitable[T]) -> T:
        async def result() -> T:
            return await awaitable

        future = asyncio.run_coroutine_threadsafe(result(), self._loop)
        try:
            return future.result()
        except BaseException:
            # Also an interrupt (Ctrl-C) of the waiting thread: the call must not go on.
            future.cancel()
            raise
