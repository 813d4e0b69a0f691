"""Fixtures of the tests of clients: a fake catalog on a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from catalogsync.catalog.v1.catalog_service_pb2 import Shop

from tests.fakes.catalog_service import CatalogServer, FakeCatalog


@pytest.fixture
async def server() -> AsyncIterator[CatalogServer]:
    server = CatalogServer(FakeCatalog())
    await server.start()
    yield server
    await server.kill()
    await server.fake.close()


@pytest.fixture
def catalog(server: CatalogServer) -> FakeCatalog:
    return server.fake


@pytest.fixture
def shop() -> Shop:
    return Shop(platform="shopify", domain="demo.myshopify.com")
