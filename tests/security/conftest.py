"""Fixtures: a running pair of services with two shops, a database with two shops, and a hostile network."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from catalogsync_common.channel import open_channel
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.conftest import open_directory
from tests.integration.catalog_svc.conftest import CatalogWorld
from tests.security.connect_log import ConnectAudit
from tests.security.hostile_network import HostileNetwork, hostile_network
from tests.security.stored_shops import KEYS, StoredShop, TwoShops, store_shop
from tests.security.target import Target, TargetShop, running_target, sync_shops

TARGET_FILE = "CATALOGSYNC_SECURITY_TARGET"


@pytest.fixture(scope="session")
async def target() -> AsyncIterator[Target]:
    """Yield the pair that CATALOGSYNC_SECURITY_TARGET describes, or else one that is started here."""
    if file := os.environ.get(TARGET_FILE):
        yield Target.load(Path(file))
        return
    with open_directory("security") as directory:
        async with running_target(directory) as running:
            yield running


@pytest.fixture(scope="session")
async def shops(target: Target) -> tuple[TargetShop, TargetShop]:
    """Return the own and the foreign shop of a client."""
    return await sync_shops(target)


@pytest.fixture(scope="session")
async def catalog_channel(target: Target) -> AsyncIterator[grpc.aio.Channel]:
    async with open_channel(target.catalog) as channel:
        yield channel


@pytest.fixture(scope="session")
async def connector_channel(target: Target) -> AsyncIterator[grpc.aio.Channel]:
    async with open_channel(target.connector) as channel:
        yield channel


@pytest.fixture
async def two_shops(engine: AsyncEngine, owner_engine: AsyncEngine) -> TwoShops:
    """Return two shops of two merchants, with the same ids and full data, in one database."""
    finished = {merchant: await store_shop(engine, merchant) for merchant in KEYS}
    a, b = [
        StoredShop(shop=sync.shop, finished=sync, pending=await CatalogWorld(engine).create_sync(sync.shop.key))
        for sync in finished.values()
    ]
    return TwoShops(engine=engine, owner=owner_engine, a=a, b=b)


@pytest.fixture(scope="session")
def connect_audit() -> ConnectAudit:
    """Return the recorder of this process."""
    return ConnectAudit()


@pytest.fixture
async def network(tmp_path: Path) -> AsyncIterator[HostileNetwork]:
    """Yield a network of this test's own."""
    async with hostile_network(tmp_path) as running:
        yield running
