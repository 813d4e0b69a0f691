from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from connector_svc.http.client import ShopClient, open_http
from connector_svc.http.config import Endpoints, HttpConfig
from tests import tls
from tests.fakes.shop_server import SHOP, FakeEnvironment, OpenClient, ShopServer, serving


@pytest.fixture
async def server() -> AsyncIterator[ShopServer]:
    async with serving() as shop_server:
        yield shop_server


@pytest.fixture
def env() -> FakeEnvironment:
    return FakeEnvironment()


@pytest.fixture
def opened(server: ShopServer, env: FakeEnvironment) -> OpenClient:
    """Opens a client of SHOP that calls `server`."""

    @asynccontextmanager
    async def open_client(prefix: str = "", config: HttpConfig | None = None) -> AsyncIterator[ShopClient]:
        endpoints = Endpoints.of({SHOP.domain: server.url + prefix})
        config = replace(config or HttpConfig(tls=tls.client_context()), endpoints=endpoints)
        async with open_http(config, env.dependencies()) as http:
            yield http.to_shop(SHOP, on_wait=env.waits.append)

    return open_client
