"""Replicas of both services, whose processes are replaced one by one, over one PostgreSQL and one devstore."""

from __future__ import annotations

import json
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from catalog_svc.storage.embedded import SERVICE_ROLE, service_url
from demo.stack import CATALOG_SERVICE, CONNECTOR_SERVICE
from devstore import server as devstore
from devstore.catalog.model import Platform
from devstore.server import RunningStore
from devstore.spec import ShopSpec, VariantRange
from tests.chaos.fault_proxy import HOST
from tests.chaos.instance import Instance
from tests.chaos.postgres import Postgres, running_postgres
from tests.chaos.system import free_port, write_credentials
from tests.rolling.release import PRESENT, MigrateProcess, Release
from tests.waiting import until, until_found

_VARIANTS: Final = VariantRange(least=2, most=4)
_CALL: Final = re.compile(r"catalogsync\.(?:catalog|connector)\.v1\.\w+/(\w+) .* peer=(\S+)")
_READS_OF_BOTH_READERS: Final = 12
"""Calls at a steady rate of two readers, in turns over the replicas: so many are not all of one of them."""
_RUNNING: Final = "SELECT count(*) FROM sync WHERE state = 'RUNNING'"


@dataclass(frozen=True, kw_only=True, slots=True)
class RollingConfig:
    """Size of the system and of its load. The defaults are those of CI."""

    catalog_count: int = 3
    connector_count: int = 2
    running_syncs: int = 10
    """Syncs that run whenever a process is replaced."""
    shop_count: int = 14
    """More than the running syncs, since a shop has no sync between two of them."""
    products_per_shop: int = 60
    store_latency_seconds: float = 0.5
    """Added by the devstore to each reply: syncs last for some seconds."""


@dataclass(frozen=True, kw_only=True)
class RollingSystem:
    """The running system."""

    config: RollingConfig
    directory: Path
    postgres: Postgres
    store: RunningStore
    catalogs: Sequence[Instance]
    connectors: Sequence[Instance]

    @property
    def target(self) -> str:
        """The gRPC target of all replicas of catalog_svc."""
        return _target(self.catalogs)

    async def replace(self, instance: Instance, release: Release = PRESENT) -> str | None:
        """Terminate a process while the syncs run, start one of `release`, and wait until all clients use it.

        A client that has lost its connection tries again after up to 2 s. If the next process was terminated
        before that, the client would know no replica for a moment.

        Returns:
            What was wrong with its end; None: nothing.
        """
        await self.wait_until_syncs_run()
        instance.signal(signal.SIGTERM)
        await instance.wait_for_exit()
        code, begin = instance.exit_code, instance.log.stat().st_size
        await self.start(instance, release)
        used = self._connector_is_used if instance in self.connectors else _catalog_is_used
        await until(lambda: used(_calls(instance.log, begin)), seconds=180)
        return None if code == 0 else f"{instance.name} exited with code {code} after SIGTERM"

    def _connector_is_used(self, calls: Sequence[tuple[str, str]]) -> bool:
        return len({peer for _, peer in calls}) >= len(self.catalogs)

    async def start(self, instance: Instance, release: Release) -> None:
        """Start a process and wait until it serves. Raises RuntimeError."""
        instance.code = release.directory
        await instance.start()
        await instance.wait_until_ready()
        if not instance.up:
            raise RuntimeError(f"{instance.name} of {release.name} does not serve; see {instance.log}")

    async def wait_until_syncs_run(self) -> None:
        """Return once as many syncs run as the configuration says."""
        connection = await self.postgres.connect()

        async def enough() -> int | None:
            count: int = await connection.fetchval(_RUNNING)
            return count if count >= self.config.running_syncs else None

        try:
            await until_found(enough, seconds=180)
        finally:
            await connection.close()


def shop_specs(config: RollingConfig) -> list[ShopSpec]:
    """Return the shops, half of them of Shopify and half of WooCommerce."""
    return [
        ShopSpec(
            platform=Platform.SHOPIFY if number % 2 else Platform.WOOCOMMERCE,
            domain=f"shop-{number}.myshopify.com" if number % 2 else f"shop-{number}.example",
            products=config.products_per_shop,
            edge_cases=False,
            variants=_VARIANTS,
        )
        for number in range(config.shop_count)
    ]


def _calls(log: Path, begin: int) -> list[tuple[str, str]]:
    """Return method and client of the calls that are in the access log from an offset on."""
    return _CALL.findall(log.read_bytes()[begin:].decode("utf-8", "replace"))


def _catalog_is_used(calls: Sequence[tuple[str, str]]) -> bool:
    """Return whether all channels of the load have made calls; they may share one connection."""
    methods = Counter(method for method, _ in calls)
    return methods["StartSync"] >= 1 and methods["GetStatus"] + methods["ListItems"] >= _READS_OF_BOTH_READERS


@asynccontextmanager
async def rolling_system(
    directory: Path, config: RollingConfig, release: Release = PRESENT
) -> AsyncIterator[RollingSystem]:
    """Yield the system of one release once all its processes serve; kill them at the end."""
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(
            devstore.serving(
                shop_specs(config),
                tls_dir=directory / "tls",
                throttle=False,
                latency=config.store_latency_seconds,
            )
        )
        postgres = await stack.enter_async_context(running_postgres(directory / "postgres", free_port()))
        await _create_schema(postgres, release, directory)
        credentials = write_credentials(directory, store)
        connectors = [_connector(directory, n, store, credentials) for n in range(config.connector_count)]
        target = _target(connectors)
        catalogs = [_catalog(directory, n, config, postgres, target) for n in range(config.catalog_count)]
        system = RollingSystem(
            config=config,
            directory=directory,
            postgres=postgres,
            store=store,
            catalogs=catalogs,
            connectors=connectors,
        )
        for instance in (*connectors, *catalogs):
            stack.push_async_callback(instance.stop)
            await system.start(instance, release)
        yield system


async def _create_schema(postgres: Postgres, release: Release, directory: Path) -> None:
    connection = await postgres.connect()
    try:
        await connection.execute(f"CREATE ROLE {SERVICE_ROLE} LOGIN")
    finally:
        await connection.close()
    migration = MigrateProcess(release, postgres, directory / "first-migrate.log")
    await migration.start()
    await migration.wait()


def _target(instances: Sequence[Instance]) -> str:
    return "ipv4:" + ",".join(instance.address for instance in instances)


def _connector(directory: Path, number: int, store: RunningStore, credentials: Path) -> Instance:
    port = free_port()
    name = f"connector-{number}"
    settings = {
        "CONNECTOR_LISTEN_ADDRESS": f"{HOST}:{port}",
        "CONNECTOR_CREDENTIALS_FILE": str(credentials),
        "CONNECTOR_CA_FILE": str(store.ca_file),
        "CONNECTOR_ENDPOINT_OVERRIDES": json.dumps({domain: store.base_url(domain) for domain in store.shops}),
    }
    return Instance(name, CONNECTOR_SERVICE, port, ("-m", "connector_svc"), settings, directory / f"{name}.log")


def _catalog(directory: Path, number: int, config: RollingConfig, postgres: Postgres, connectors: str) -> Instance:
    port = free_port()
    name = f"catalog-{number}"
    settings: Mapping[str, str] = {
        "CATALOG_LISTEN_ADDRESS": f"{HOST}:{port}",
        "CATALOG_DATABASE_URL": service_url(postgres.url),
        "CATALOG_CONNECTOR_ADDRESS": connectors,
        # The replicas that are left take the syncs of the one that is replaced.
        "CATALOG_MAX_RUNNING_SYNCS": str(config.shop_count),
        "CATALOG_MAX_RUNNING_PER_PLATFORM": str(config.shop_count),
        # The load starts syncs of a shop as soon as the last one has ended.
        "CATALOG_START_SYNC_INTERVAL": "0",
    }
    return Instance(name, CATALOG_SERVICE, port, ("-m", "catalog_svc"), settings, directory / f"{name}.log")
