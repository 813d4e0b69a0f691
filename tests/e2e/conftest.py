"""The whole system as real processes (devstore, connector_svc, catalog_svc with PostgreSQL), and broken shops."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from aiohttp import web
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from catalogsync.connector.v1.connector_service_pb2_grpc import ConnectorServiceStub
from catalogsync_common.channel import open_channel

from catalog_svc.storage.embedded import service_url
from demo.processes import ProcessGroup
from demo.stack import read_first_line, wait_until_serving
from tests.conftest import SERVER_URL, copied_database, open_directory
from tests.waiting import forever

ROOT = Path(__file__).parents[2]
CATALOG = "catalogsync.catalog.v1.CatalogService"
CONNECTOR = "catalogsync.connector.v1.ConnectorService"

SILENCE_SECONDS = 2
"""How long the silent shop keeps a request waiting before it breaks the connection."""

SHOPS = (
    "shopify:demo.myshopify.com:products=60",
    "shopify:empty.myshopify.com:products=0,edge_cases=off",
    "woocommerce:new.example:products=70,version=10.3",
    "woocommerce:old.example:products=70,version=8.2",
    "woocommerce:empty.example:products=0,edge_cases=off",
    "woocommerce:locked.example:products=3,edge_cases=off",
)


@dataclass(frozen=True, kw_only=True)
class System:
    """The running services and their clients."""

    catalog_address: str
    connector_address: str
    catalog: CatalogServiceStub
    connector: ConnectorServiceStub
    devstore: str
    ca_file: Path
    logs: Path

    async def start(self, platform: str, domain: str, **more: Any) -> pb.Sync:
        """Start a full sync and return it."""
        request = pb.StartSyncRequest(
            shop=pb.ShopRef(platform=platform, domain=domain), mode=pb.Sync.MODE_FULL, **more
        )
        return (await self.catalog.StartSync(request)).sync

    async def watch(self, sync_id: str, after_revision: int = 0) -> list[pb.WatchSyncResponse]:
        """Return all messages of a watch, which ends when the sync ends."""
        request = pb.WatchSyncRequest(sync_id=sync_id, after_revision=after_revision)
        async with asyncio.timeout(60):
            return [message async for message in self.catalog.WatchSync(request)]

    async def sync(self, platform: str, domain: str) -> pb.Sync:
        """Run a full sync and return it in its final state."""
        started = await self.start(platform, domain)
        return (await self.watch(started.sync_id))[-1].sync

    async def items(self, platform: str, domain: str, **filters: Any) -> list[pb.Item]:
        """Return all items, read page by page."""
        items: list[pb.Item] = []
        token = ""
        while True:
            request = pb.ListItemsRequest(
                shop=pb.ShopRef(platform=platform, domain=domain), page_size=100, page_token=token, **filters
            )
            page = await self.catalog.ListItems(request)
            items.extend(page.items)
            token = page.next_page_token
            if not token:
                return items


@pytest.fixture(scope="session")
async def system() -> AsyncIterator[System]:
    """Yield one system for all tests of this run."""
    server_url = os.environ.get(SERVER_URL)
    database = copied_database(server_url) if server_url else nullcontext("")
    with open_directory("system") as directory:
        async with (
            database as url,
            running_system(directory, database_url=service_url(url) if url else "") as running,
        ):
            yield running


@asynccontextmanager
async def running_system(directory: Path, *, database_url: str = "") -> AsyncIterator[System]:
    """Yield the system, which writes all its files to `directory`.

    Args:
        directory: Of the files.
        database_url: A database with the schema; empty: an embedded PostgreSQL.
    """
    logs = directory / "logs"
    logs.mkdir()
    async with broken_shops() as broken, ProcessGroup(directory=ROOT, logs=logs) as processes:
        ready_file = directory / "devstore.json"
        arguments = [part for shop in SHOPS for part in ("--shop", shop)]
        await processes.start(
            "devstore", "-m", "devstore", "--listen", "127.0.0.1:0", "--tls-dir", str(directory / "tls"),
            "--no-throttle", *arguments, stdout=ready_file,
        )  # fmt: skip
        async with asyncio.timeout(60):
            store = json.loads(await processes.supervise(read_first_line(ready_file)))
        connector, catalog = (f"127.0.0.1:{free_port()}" for _ in range(2))
        settings = _connector_settings(directory, connector, store, broken)
        await processes.start("connector_svc", "-m", "connector_svc", settings=settings)
        settings = {**_catalog_settings(directory, catalog, connector), "CATALOG_DATABASE_URL": database_url}
        await processes.start("catalog_svc", "-m", "catalog_svc", settings=settings)
        async with asyncio.timeout(60):
            await processes.supervise(wait_until_serving(connector, CONNECTOR))
            await processes.supervise(wait_until_serving(catalog, CATALOG))
        async with open_channel(catalog) as to_catalog, open_channel(connector) as to_connector:
            yield System(
                catalog_address=catalog,
                connector_address=connector,
                catalog=CatalogServiceStub(to_catalog),
                connector=ConnectorServiceStub(to_connector),
                devstore=store["listening"],
                ca_file=Path(store["ca_file"]),
                logs=logs,
            )


def _connector_settings(
    directory: Path, address: str, store: dict[str, Any], broken: dict[str, str]
) -> dict[str, str]:
    shops = {name.partition(":")[2]: shop for name, shop in store["shops"].items()}
    credentials = {
        ("shopify" if "access_token" in shop["credentials"] else "woocommerce", domain): shop["credentials"]
        for domain, shop in shops.items()
    }
    wrong = {"consumer_key": "ck_devstore_locked.example", "consumer_secret": "cs_wrong"}
    credentials["woocommerce", "locked.example"] = wrong
    credentials["shopify", "revoked.myshopify.com"] = {"access_token": "shpat_revoked"}
    for domain in broken:
        platform = "shopify" if domain.endswith(".myshopify.com") else "woocommerce"
        credentials.setdefault((platform, domain), {"access_token": "shpat_x"} if platform == "shopify" else wrong)
    file = directory / "credentials.toml"
    file.write_text(_toml(credentials))
    file.chmod(0o600)
    overrides = {domain: shop["base_url"] for domain, shop in shops.items()}
    overrides["revoked.myshopify.com"] = overrides["demo.myshopify.com"]
    return {
        "CONNECTOR_LISTEN_ADDRESS": address,
        "CONNECTOR_CREDENTIALS_FILE": str(file),
        "CONNECTOR_CA_FILE": store["ca_file"],
        "CONNECTOR_ENDPOINT_OVERRIDES": json.dumps(overrides | broken),
        "CONNECTOR_HTTP_ATTEMPTS": "2",
    }


def _catalog_settings(directory: Path, address: str, connector: str) -> dict[str, str]:
    return {
        "CATALOG_LISTEN_ADDRESS": address,
        "CATALOG_CONNECTOR_ADDRESS": connector,
        "CATALOG_DATA_DIR": str(directory / "postgres"),
        "CATALOG_GIVE_UP_AFTER": "2s",
        "CATALOG_TEXT_SEARCH": "1",
        "CATALOG_GIVE_UP_NEW_SHOP_AFTER": "2s",
        # Tests start syncs of the same shops more often than people do.
        "CATALOG_START_SYNC_INTERVAL": "0",
    }


def _toml(credentials: dict[tuple[str, str], dict[str, str]]) -> str:
    tables = []
    for (platform, domain), values in credentials.items():
        lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        tables.append("\n".join([f"[{platform}.{json.dumps(domain)}]", *lines, ""]))
    return "\n".join(tables)


@asynccontextmanager
async def broken_shops() -> AsyncIterator[dict[str, str]]:
    """Yield the domains of shops that send no usable reply, with their base URLs."""

    async def html(request: web.Request) -> web.Response:
        return web.Response(text="<html><body>Checking your browser</body></html>", content_type="text/html")

    async def missing(request: web.Request) -> web.Response:
        return web.Response(status=404, text="Not Found", content_type="text/html")

    async def silent(request: web.Request) -> web.Response:
        # The shop ends the wait, not a timeout of the connector: a short one would also hit the devstore on a busy
        # machine.
        assert request.transport is not None
        asyncio.get_running_loop().call_later(SILENCE_SECONDS, request.transport.abort)
        await forever()

    async def moved(request: web.Request) -> web.Response:
        return web.Response(status=301, headers={"Location": "https://elsewhere.example/"})

    app = web.Application()
    for name, handler in (("html", html), ("missing", missing), ("silent", silent), ("moved", moved)):
        app.router.add_route("*", f"/{name}{{tail:.*}}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    base = f"http://127.0.0.1:{port}"
    try:
        yield {
            **{f"{name}.example": f"{base}/{name}" for name in ("html", "missing", "silent", "moved")},
            **{f"{name}.myshopify.com": f"{base}/{name}" for name in ("html", "missing", "silent", "moved")},
            "dead.example": f"https://127.0.0.1:{free_port()}",
            "dead.myshopify.com": f"https://127.0.0.1:{free_port()}",
        }
    finally:
        await runner.cleanup()


def free_port() -> int:
    """Return a port that is currently unused."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def details(error: grpc.aio.AioRpcError) -> dict[str, Any]:
    """Return the typed details of an error by their message name."""
    from google.rpc import error_details_pb2, status_pb2

    raw = dict(error.trailing_metadata() or ())["grpc-status-details-bin"]
    assert isinstance(raw, bytes)
    found: dict[str, Any] = {}
    for detail in status_pb2.Status.FromString(raw).details:
        message = getattr(error_details_pb2, detail.type_url.rpartition(".")[2])()
        detail.Unpack(message)
        found[message.DESCRIPTOR.name] = message
    return found


def clean_environment() -> dict[str, str]:
    """Return the environment for the tools that tests run, without a proxy for 127.0.0.1."""
    return {**os.environ, "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}
