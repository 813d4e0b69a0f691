"""What is broken: processes, PostgreSQL, and the proxies between them and before the devstore, which is ours."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
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

from demo.processes import process_environment
from demo.stack import CATALOG_SERVICE, CONNECTOR_SERVICE
from devstore import server as devstore
from devstore.catalog.model import Platform
from devstore.server import RunningStore
from devstore.spec import ShopSpec, VariantRange
from tests.chaos import journal
from tests.chaos.fault_proxy import HOST, FaultProxy
from tests.chaos.instance import ROOT, Instance
from tests.chaos.postgres import Postgres, running_postgres

_READY = 90.0
_SHAPE = VariantRange(least=2, most=4)


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """How large."""

    catalogs: int = 3
    connectors: int = 2
    products: int = 800
    latency: float = 0.15
    """Seconds that the devstore takes for each reply."""
    lease_ttl: float = 2.0
    fenced: bool = True
    token_service: str = ""
    """Its URL, if tokens come from one instead of a file."""


@dataclass(frozen=True, kw_only=True)
class ChaosSystem:
    """What is broken, and what is looked at."""

    catalogs: Sequence[Instance]
    connectors: Sequence[Instance]
    postgres: Postgres
    proxies: dict[str, FaultProxy]
    stubs: dict[str, CatalogServiceStub]
    store: RunningStore
    writers: journal.Writers


def shop_specs(products: int) -> list[ShopSpec]:
    """Two shops of each platform."""
    shopify = [
        ShopSpec(
            platform=Platform.SHOPIFY,
            domain=f"{name}.myshopify.com",
            products=products,
            edge_cases=False,
            variants=_SHAPE,
        )
        for name in ("one", "two")
    ]
    woocommerce = [
        ShopSpec(
            platform=Platform.WOOCOMMERCE,
            domain=f"{name}.example",
            products=products,
            edge_cases=False,
            variants=_SHAPE,
            version=version,
        )
        for name, version in (("new", "10.3"), ("old", "8.2"))
    ]
    return shopify + woocommerce


@asynccontextmanager
async def running_system(place: Path, plan: Size, random: Random) -> AsyncIterator[ChaosSystem]:
    """Everything up and answering; all of it ended with the block."""
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(
            devstore.serving(
                shop_specs(plan.products), tls_dir=place / "tls", throttle=False, latency=plan.latency
            )
        )
        postgres = await stack.enter_async_context(running_postgres(place / "postgres", free_port()))
        await _prepare_database(postgres)
        writers = journal.Writers()
        proxies: dict[str, FaultProxy] = {}
        store_port = URL(store.url).port or 0
        proxies["store"] = FaultProxy(lambda: [store_port], random=random)
        await stack.enter_async_context(proxies["store"].listening())
        connectors = [
            _connector(place, f"connector-{n}", plan, store, proxies["store"]) for n in range(plan.connectors)
        ]
        live = partial(_ports, connectors)
        proxies["connector"] = await stack.enter_async_context(FaultProxy(live, random=random).listening())
        catalogs: list[Instance] = []
        for n in range(plan.catalogs):
            # Each replica has a way to PostgreSQL of its own, which tells whose a connection is.
            note = partial(_note, catalogs, n, writers)
            proxy = FaultProxy(lambda: [postgres.port], random=random, on_link=note)
            await stack.enter_async_context(proxy.listening())
            proxies[f"postgres-{n}"] = proxy
            catalogs.append(
                _catalog(place, f"catalog-{n}", plan, postgres.url_at(proxy.address), proxies["connector"])
            )
        stubs: dict[str, CatalogServiceStub] = {}
        for instance in (*connectors, *catalogs):
            stack.push_async_callback(instance.stop)
            await instance.start()
        async with asyncio.timeout(_READY):
            for instance in (*connectors, *catalogs):
                await instance.ready()
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
            writers=writers,
        )


def _ports(instances: Sequence[Instance]) -> list[int]:
    return [instance.port for instance in instances if instance.up]


def _note(catalogs: Sequence[Instance], number: int, writers: journal.Writers, port: int) -> None:
    writers.opened(port, catalogs[number].identity, time.time())


async def _prepare_database(postgres: Postgres) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "catalog_svc", "migrate", cwd=ROOT,
        env=process_environment(os.environ, {"CATALOG_DATABASE_URL": postgres.url}),
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, said = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"the migration failed:\n{said.decode()}")
    connection = await postgres.connect()
    try:
        await journal.install(connection)
    finally:
        await connection.close()


def _connector(place: Path, name: str, plan: Size, store: RunningStore, way: FaultProxy) -> Instance:
    port = free_port()
    tables = []
    for shop in store.shops.values():
        keys = [f"{key} = {json.dumps(value)}" for key, value in shop.spec.credentials.items()]
        tables.append("\n".join([f"[{shop.spec.platform.value}.{json.dumps(shop.spec.domain)}]", *keys, ""]))
    file = place / "credentials.toml"
    file.write_text("\n".join(tables))
    file.chmod(0o600)
    settings = {
        "CONNECTOR_LISTEN_ADDRESS": f"{HOST}:{port}",
        "CONNECTOR_CREDENTIALS_FILE": "" if plan.token_service else str(file),
        "CONNECTOR_TOKEN_SERVICE_URL": plan.token_service,
        "CONNECTOR_CA_FILE": str(store.ca_file),
        "CONNECTOR_ENDPOINT_OVERRIDES": json.dumps(
            {domain: f"https://{way.address}/{domain}" for domain in store.shops}
        ),
    }
    return Instance(name, CONNECTOR_SERVICE, port, ("-m", "connector_svc"), settings, place / f"{name}.log")


def _catalog(place: Path, name: str, plan: Size, url: str, connector: FaultProxy) -> Instance:
    port = free_port()
    settings = {
        "CATALOG_LISTEN_ADDRESS": f"{HOST}:{port}",
        "CATALOG_DATABASE_URL": url,
        "CATALOG_CONNECTOR_ADDRESS": connector.address,
        "CATALOG_LEASE_TTL": f"{plan.lease_ttl}s",
        "CATALOG_GIVE_UP_AFTER": "10m",
        # Replicas die of us here, many times a minute, and not of a batch.
        "CATALOG_MAX_CLAIMS_WITHOUT_PROGRESS": "50",
    }
    command = ("-m", "catalog_svc") if plan.fenced else ("-m", "tests.chaos.unfenced")
    return Instance(name, CATALOG_SERVICE, port, command, settings, place / f"{name}.log")


def free_port() -> int:
    """A port that nobody uses right now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
