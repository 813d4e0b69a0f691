"""catalog_svc in this process, over gRPC and without a connector.

It runs no syncs and no refreshes, which it would claim before a test does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import grpc
from catalogsync.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from catalogsync_common.channel import open_channel
from catalogsync_common.settings import ListenAddress
from pydantic import SecretStr

from catalog_svc import bootstrap
from catalog_svc.settings import CatalogSettings
from tests.pgbouncer import is_pooled


@asynccontextmanager
async def service(database_url: str, **settings: Any) -> AsyncIterator[CatalogServiceStub]:
    """Run catalog_svc, with the default limits of clients unless `settings` say otherwise."""
    async with connected(database_url, **settings) as channel:
        yield CatalogServiceStub(channel)


@asynccontextmanager
async def connected(database_url: str, **settings: Any) -> AsyncIterator[grpc.aio.Channel]:
    """Run catalog_svc and yield a channel to it; see `service`."""
    configured = CatalogSettings(
        database_url=SecretStr(database_url),
        database_pooled=is_pooled(database_url),
        listen_address=ListenAddress("127.0.0.1:0"),
        connector_address="127.0.0.1:1",
        stop_grace=timedelta(seconds=1),
        **{"max_running_syncs": 0, "max_running_refreshes": 0, **settings},
    )
    async with bootstrap.running(configured) as port, open_channel(f"127.0.0.1:{port}") as channel:
        yield channel
