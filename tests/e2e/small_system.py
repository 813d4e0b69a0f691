"""A system for one test, which may kill its processes: a slow devstore, connectors and catalog replicas."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from catalogsync_common.channel import open_channel
from catalogsync_common.client_tls import ClientTls

from demo.processes import ProcessGroup
from demo.stack import read_first_line, wait_until_serving
from tests.conftest import open_directory
from tests.e2e.conftest import CATALOG, CONNECTOR, ROOT, free_port

DOMAIN = "demo.myshopify.com"
WEBHOOK_SECRET = f"shpss_devstore_{DOMAIN}"
"""With which the devstore signs."""
SHOP = pb.ShopRef(platform="shopify", domain=DOMAIN)


@dataclass(kw_only=True)
class SmallSystem:
    """Processes by name. A service is restarted under another name."""

    directory: Path
    processes: ProcessGroup
    items: int
    """Number of items of the shop."""
    connector: str
    """The connector's host and port."""
    store: str
    """The devstore's scheme, host and port."""
    shop_url: str
    """Where the devstore serves the API of the shop."""
    access_token: str = field(repr=False)
    """Of the API of the shop."""
    ca_file: str
    """The CA of the devstore's certificate."""
    _settings: dict[str, str]
    _catalogs: dict[str, str] = field(default_factory=dict)

    async def start_connector(self, name: str, **settings: str) -> None:
        """Start connector_svc, at the same address each time unless LISTEN_ADDRESS is set.

        HEALTH_ADDRESS is where it is probed, if it is set.
        """
        environment = {f"CONNECTOR_{key}": value for key, value in settings.items()}
        await self.processes.start(name, "-m", "connector_svc", settings={**self._settings, **environment})
        async with asyncio.timeout(60):
            await wait_until_serving(settings.get("HEALTH_ADDRESS", self.connector), CONNECTOR)

    async def start_catalog(self, name: str, **settings: str) -> None:
        """Start a replica of catalog_svc, at an address of its own unless LISTEN_ADDRESS is set.

        All replicas share one embedded PostgreSQL unless DATABASE_URL is set.
        """
        address = settings.get("LISTEN_ADDRESS") or f"127.0.0.1:{free_port()}"
        self._catalogs[name] = address
        environment = {
            "CATALOG_LISTEN_ADDRESS": address,
            "CATALOG_CONNECTOR_ADDRESS": self.connector,
            "CATALOG_DATA_DIR": str(self.directory / "postgres"),
            "CATALOG_LEASE_TTL": "2s",
            "CATALOG_START_SYNC_INTERVAL": "0",
            **{f"CATALOG_{key}": value for key, value in settings.items()},
        }
        await self.processes.start(name, "-m", "catalog_svc", settings=environment)
        async with asyncio.timeout(60):
            await wait_until_serving(settings.get("HEALTH_ADDRESS", address), CATALOG)

    def catalog_address(self, name: str) -> str:
        """Return host and port of the replica `name`."""
        return self._catalogs[name]

    @asynccontextmanager
    async def stub(self, name: str, *, tls: ClientTls | None = None) -> AsyncIterator[CatalogServiceStub]:
        """Yield a client of the replica `name`."""
        async with open_channel(self._catalogs[name], tls=tls) as channel:
            yield CatalogServiceStub(channel)


@asynccontextmanager
async def small_system(*, products: int, latency_ms: int) -> AsyncIterator[SmallSystem]:
    """Yield a system whose devstore runs, and whose services are not started."""
    with open_directory("small") as directory:
        (directory / "logs").mkdir()
        async with ProcessGroup(directory=ROOT, logs=directory / "logs") as processes:
            store = await _start_devstore(directory, processes, products=products, latency_ms=latency_ms)
            shop = store["shops"][f"shopify:{DOMAIN}"]
            connector = f"127.0.0.1:{free_port()}"
            yield SmallSystem(
                directory=directory,
                processes=processes,
                items=shop["items"],
                connector=connector,
                store=store["listening"],
                shop_url=shop["base_url"],
                access_token=shop["credentials"]["access_token"],
                ca_file=store["ca_file"],
                _settings={
                    "CONNECTOR_LISTEN_ADDRESS": connector,
                    "CONNECTOR_CREDENTIALS_FILE": str(_write_credentials(directory, shop)),
                    "CONNECTOR_CA_FILE": store["ca_file"],
                    "CONNECTOR_ENDPOINT_OVERRIDES": json.dumps({DOMAIN: shop["base_url"]}),
                },
            )


async def _start_devstore(
    directory: Path, processes: ProcessGroup, *, products: int, latency_ms: int
) -> dict[str, Any]:
    ready_file = directory / "devstore.json"
    await processes.start(
        "devstore", "-m", "devstore", "--listen", "127.0.0.1:0", "--tls-dir", str(directory / "tls"),
        "--no-throttle", "--latency-ms", str(latency_ms),
        "--shop", f"shopify:{DOMAIN}:products={products},edge_cases=off",
        stdout=ready_file,
    )  # fmt: skip
    async with asyncio.timeout(60):
        store: dict[str, Any] = json.loads(await read_first_line(ready_file))
    return store


def _write_credentials(directory: Path, shop: Mapping[str, Any]) -> Path:
    file = directory / "credentials.toml"
    lines = (
        f'[shopify."{DOMAIN}"]',
        f'access_token = "{shop["credentials"]["access_token"]}"',
        f'webhook_secrets = ["{WEBHOOK_SECRET}"]',
    )
    file.write_text("".join(f"{line}\n" for line in lines))
    file.chmod(0o600)
    return file
