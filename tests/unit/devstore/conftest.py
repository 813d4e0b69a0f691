"""One running devstore for all tests that only read, and a client that uses a real socket."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from multidict import CIMultiDictProxy

from devstore.catalog.catalog import Catalog
from devstore.catalog.model import Platform
from devstore.server import RunningStore, serving
from devstore.spec import ShopSpec

RECORDED = Path(__file__).parents[2] / "data" / "woocommerce"

SHOPIFY = ShopSpec(platform=Platform.SHOPIFY, domain="demo.myshopify.com", products=60)
SHOPS = (
    SHOPIFY,
    ShopSpec(platform=Platform.WOOCOMMERCE, domain="old.example", products=120, version="8.2"),
    ShopSpec(platform=Platform.WOOCOMMERCE, domain="new.example", products=60, version="10.3"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A reply with its whole body."""

    status: int
    headers: CIMultiDictProxy[str]
    raw: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.raw)


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Sends requests to the shops of one store, by default with valid credentials."""

    store: RunningStore
    session: aiohttp.ClientSession

    def catalog(self, domain: str) -> Catalog:
        return self.store.catalog(domain)

    async def send(self, method: str, url: str, **options: Any) -> Reply:
        async with self.session.request(method, url, **options) as reply:
            return Reply(status=reply.status, headers=reply.headers, raw=await reply.read())

    async def graphql(
        self,
        query: str,
        *,
        domain: str = "demo.myshopify.com",
        version: str = "2026-10",
        token: str | None = None,
        **variables: Any,
    ) -> Reply:
        url = f"{self.store.base_url(domain)}/admin/api/{version}/graphql.json"
        key = self.store.credentials(domain)["access_token"] if token is None else token
        body = {"query": query, "variables": variables}
        return await self.send("POST", url, json=body, headers={"X-Shopify-Access-Token": key})

    async def data(self, query: str, *, domain: str = "demo.myshopify.com", **variables: Any) -> Any:
        """Return `data` of a reply, which must not have errors."""
        body = (await self.graphql(query, domain=domain, **variables)).body
        assert "errors" not in body, body["errors"]
        return body["data"]

    async def woo(
        self, path: str, *, domain: str = "old.example", method: str = "GET", headers: Any = None
    ) -> Reply:
        """Request `path`, which is below /wp-json/ and includes the query."""
        keys = self.store.credentials(domain)
        basic = aiohttp.encode_basic_auth(keys["consumer_key"], keys["consumer_secret"])
        chosen = {"Authorization": basic} if headers is None else headers
        url = f"{self.store.base_url(domain)}/wp-json/{path}"
        return await self.send(method, url, headers=chosen)


def recorded(name: str) -> Any:
    """Return a recorded exchange of a real WooCommerce 8.2.2."""
    return json.loads((RECORDED / f"{name}.json").read_text())


def client_session(store: RunningStore) -> aiohttp.ClientSession:
    """Return a session that trusts only the certificate authority of this store."""
    trust = ssl.create_default_context(cafile=str(store.ca_file)) if store.ca_file else True
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust))


@pytest.fixture(scope="session")
def tls_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for certificates that are created once for all tests."""
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="session")
async def client(tls_dir: Path) -> AsyncIterator[Client]:
    """A client of a store that no test changes."""
    async with serving(SHOPS, tls_dir=tls_dir, throttle=False) as store, client_session(store) as session:
        yield Client(store=store, session=session)
