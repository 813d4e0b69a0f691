"""Channels of a process that opens many streams to one replica."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Final

import grpc
from catalogsync.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub

_STREAMS_PER_CHANNEL: Final = 250
_OPTIONS: Final = (
    # Without this option all channels to one address share one connection, which carries 1,000 streams.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)


async def open_stubs(stack: AsyncExitStack, address: str, *, streams: int) -> list[CatalogServiceStub]:
    """Return stubs for so many streams in all, each on a connection of its own; the stack closes them."""
    return [
        CatalogServiceStub(await stack.enter_async_context(grpc.aio.insecure_channel(address, options=_OPTIONS)))
        for _ in range(-(-streams // _STREAMS_PER_CHANNEL))
    ]
