"""The system under test: service processes, PostgreSQL, the devstore, and fault proxies between them."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

from catalogsync.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from catalogsync_common.channel import open_channel
from yarl import URL

from catalog_svc.storage.embedded import service_url
from demo.stack import CATALOG_SERVICE, CONNECTOR_SERVICE
from devstore import server as devstore
from devstore.catalog.model import Platform
from devstore.server import RunningStore
from devstore.spec import ShopSpec, VariantRange
from tests.chaos import journal
from tests.chaos.fault_proxy import HOST, FaultProxy
from tests.chaos.instance import Instance
from tests.chaos.postgres import Postgres, running_postgres

_START_TIMEOUT_SECONDS = 90.0
_VARIANTS_PER_PRODUCT = VariantRange(least=2, most=4)


@dataclass(frozen=True, kw_only=True, slots=True)
class SystemConfig:
    """Size and settings of the system."""

    catalog_count: int = 3
    connector_count: int = 2
    products_per_shop: int = 800
    store_latency_seconds: float = 0.15
    """Added by the devstore to each reply."""
    lease_ttl_seconds: float = 2.0
    fenced: bool = True
    token_service_url: str = ""
    """Empty: the credentials come from a file."""


@dataclass(frozen=True, kw_only=True)
class ChaosSystem:
    """The running system."""

    catalogs: Sequence[Instance]
    connectors: Sequence[Instance]
    postgres: Postgres
    proxies: dict[str, FaultProxy]
    stubs: dict[str, CatalogServiceStub]
    """By the name of the replica; these connections use no proxy."""
    store: RunningStore
    connections: journal.ConnectionRegistry


def shop_specs(products: int) -> list[ShopSpec]:
    """Return two Shopify and two WooCommerce shops with so many products each."""
    shopify = [
        ShopSpec(
            platform=Platform.SHOPIFY,
            domain=f"{name}.myshopify.com",
            products=products,
            edge_cases=False,
            variants=_VARIANTS_PER_PRODUCT,
        )
        for name in ("one", "two")
    ]
    woocommerce = [
        ShopSpec(
            platform=Platform.WOOCOMMERCE,
            domain=f"{name}.example",
            products=products,
            edge_cases=False,
            variants=_VARIANTS_PER_PRODUCT,
            version=version,
        )
        for name, version in (("new", "10.3"), ("old", "8.2"))
    ]
    return shopify + woocommerce


@asynccontextmanager
async def running_system(directory: Path, config: SystemConfig, random: Random) -> AsyncIterator[ChaosSystem]:
    """Yield the system when all its services are ready; stop all of them at the end."""
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(
            devstore.serving(
                shop_specs(config.products_per_shop),
                tls_dir=directory / "tls",
                throttle=False,
                latency=config.store_latency_seconds,
            )
        )
        postgres = await stack.enter_async_context(running_postgres(directory / "postgres", free_port()))
        await _prepare_database(postgres)
        connections = journal.ConnectionRegistry()
        proxies: dict[str, FaultProxy] = {}
        store_port = URL(store.url).port or 0
        proxies["store"] = FaultProxy(lambda: [store_port], random=random)
        await stack.enter_async_context(proxies["store"].listening())
        connectors = [
            _connector(directory, f"connector-{n}", config, store, proxies["store"])
            for n in range(config.connector_count)
        ]
        ports = partial(_ports_in_use, connectors)
        proxies["connector"] = await stack.enter_async_context(FaultProxy(ports, random=random).listening())
        catalogs: list[Instance] = []
        for n in range(config.catalog_count):
            # Each replica has its own proxy to PostgreSQL, which registers the connections of this replica.
            register = partial(_register_connection, catalogs, n, connections)
            proxy = FaultProxy(lambda: [postgres.port], random=random, on_connect=register)
            await stack.enter_async_context(proxy.listening())
            proxies[f"postgres-{n}"] = proxy
            url = service_url(postgres.url_at(proxy.address))
            catalogs.append(_catalog(directory, f"catalog-{n}", config, url, proxies["connector"]))
        await _start(stack, (*connectors, *catalogs))
        stubs: dict[str, CatalogServiceStub] = {}
        for instance in catalogs:
            channel = await stack.enter_async_context(open_channel(instance.address))
            stubs[instance.name] = CatalogServiceStub(channel)
        yield ChaosSystem(
            catalogs=catalogs,
            connectors=connectors,
            postgres=postgres,
            proxies=proxies,
            stubs=stubs,
            store=store,
            connections=connections,
        )


async def _start(stack: AsyncExitStack, instances: Sequence[Instance]) -> None:
    for instance in instances:
        stack.push_async_callback(instance.stop)
        await instance.start()
    async with asyncio.timeout(_START_TIMEOUT_SECONDS):
        for instance in instances:
            await instance.wait_until_ready()


def _ports_in_use(instances: Sequence[Instance]) -> list[int]:
    return [instance.port for instance in instances if instance.up]


def _register_connection(
    catalogs: Sequence[Instance], number: int, connections: journal.ConnectionRegistry, port: int
) -> None:
    connections.register(port, catalogs[number].identity, time.time())


async def _prepare_database(postgres: Postgres) -> None:
    await postgres.migrate()
    connection = await postgres.connect()
    try:
        await journal.install(connection)
    finally:
        await connection.close()


def write_credentials(directory: Path, store: RunningStore) -> Path:
    """Write the credentials file of connector_svc for all shops, and return it."""
    tables = []
    for shop in store.shops.values():
        keys = [f"{key} = {json.dumps(value)}" for key, value in shop.spec.credentials.items()]
        if shop.spec.platform is Platform.SHOPIFY:
            keys.append(f"webhook_secrets = [{json.dumps(shop.shopify.oauth.client_secret)}]")
        tables.append("\n".join([f"[{shop.spec.platform.value}.{json.dumps(shop.spec.domain)}]", *keys, ""]))
    file = directory / "credentials.toml"
    file.write_text("\n".join(tables))
    file.chmod(0o600)
    return file


def _connector(
    directory: Path, name: str, config: SystemConfig, store: RunningStore, store_proxy: FaultProxy
) -> Instance:
    port = free_port()
    file = write_credentials(directory, store)
    settings = {
        "CONNECTOR_LISTEN_ADDRESS": f"{HOST}:{port}",
        "CONNECTOR_CREDENTIALS_FILE": "" if config.token_service_url else str(file),
        "CONNECTOR_TOKEN_SERVICE_URL": config.token_service_url,
        "CONNECTOR_CA_FILE": str(store.ca_file),
        "CONNECTOR_ENDPOINT_OVERRIDES": json.dumps(
            {domain: f"https://{store_proxy.address}/{domain}" for domain in store.shops}
        ),
    }
    return Instance(name, CONNECTOR_SERVICE, port, ("-m", "connector_svc"), settings, directory / f"{name}.log")


def _catalog(
    directory: Path, name: str, config: SystemConfig, database_url: str, connector_proxy: FaultProxy
) -> Instance:
    port = free_port()
    settings = {
        "CATALOG_LISTEN_ADDRESS": f"{HOST}:{port}",
        "CATALOG_DATABASE_URL": database_url,
        "CATALOG_CONNECTOR_ADDRESS": connector_proxy.address,
        "CATALOG_LEASE_TTL": f"{config.lease_ttl_seconds}s",
        "CATALOG_GIVE_UP_AFTER": "10m",
        # Replicas are killed by the test many times a minute, not by a batch that they cannot process.
        "CATALOG_MAX_CLAIMS_WITHOUT_PROGRESS": "50",
        # The workload starts syncs of few shops, as fast as they end.
        "CATALOG_START_SYNC_INTERVAL": "0",
        "CATALOG_MAX_WATCHERS_PER_SHOP": "1000",
    }
    command = ("-m", "catalog_svc") if config.fenced else ("-m", "tests.chaos.unfenced")
    return Instance(name, CATALOG_SERVICE, port, command, settings, directory / f"{name}.log")


def free_port() -> int:
    """Return a port that is currently unused."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
