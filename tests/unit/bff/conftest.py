"""Fixtures of the tests of the BFF: a BFF in this process, in front of a fake catalog on a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from catalogsync_bff.bootstrap import running
from catalogsync_bff.settings import BffSettings

from tests.bff_client import BffClient
from tests.fakes.catalog_service import CatalogServer, FakeCatalog


@pytest.fixture
async def server() -> AsyncIterator[CatalogServer]:
    """A fake catalog with analyses of its items."""
    fake = FakeCatalog()
    server = CatalogServer(fake, analysis=fake.analyses)
    await server.start()
    yield server
    await server.kill()
    await fake.close()


@asynccontextmanager
async def served(server: CatalogServer, **settings: object) -> AsyncIterator[BffClient]:
    """Yield a client of a BFF with these settings, without a session."""
    values = {"listen_address": "127.0.0.1:0", "catalog_address": server.address, **settings}
    async with (
        running(BffSettings(**values), on_give_up=lambda: None) as port,  # type: ignore[arg-type]
        BffClient(f"http://127.0.0.1:{port}") as client,
    ):
        yield client


@pytest.fixture
async def bff(server: CatalogServer) -> AsyncIterator[BffClient]:
    """A client of a BFF, with a session that sees all shops."""
    async with served(server, dev_login=True) as client:
        await client.log_in()
        yield client
