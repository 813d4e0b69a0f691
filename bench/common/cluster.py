"""Any number of replicas of both services on one PostgreSQL, as processes.

Replica n of catalog_svc reads from replica n of connector_svc: the even distribution that a load balancer reaches
in the long run.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from catalogsync_cli.client import open_catalog
from catalogsync_cli.command import Options
from catalogsync_client import CatalogClient
from prometheus_client.parser import text_string_to_metric_families

from bench.common import machine
from bench.common.results import ROOT
from bench.common.stack import WITHOUT_SHOP_LIMITS, free_addresses, postmaster_pid, shop_settings
from bench.common.store import READY_TIMEOUT_SECONDS, ServedShop
from catalog_svc.storage.embedded import SERVICE_ROLE, embedded_postgres, service_url
from catalog_svc.storage.engine import open_engine
from catalog_svc.storage.schema import migrate
from demo.processes import ProcessGroup
from demo.stack import CATALOG_SERVICE, CONNECTOR_SERVICE, wait_until_serving

PROCESS_KINDS = ("connector_svc", "catalog_svc", "postgresql")
"""Kinds of processes that `Cluster.cpu` counts: those of the system under test."""
_SYNCS_STARTED_METRICS = ("catalog_syncs_claimed_total", "catalog_syncs_taken_over_total")


@dataclass(frozen=True, kw_only=True, slots=True)
class Replica:
    """One catalog_svc and the connector_svc that it reads from."""

    client: CatalogClient
    address: str
    """Of catalog_svc, host:port."""
    catalog_pid: int
    connector_pid: int
    metrics_url: str

    async def started_sync_count(self) -> int:
        """Return how many syncs this replica has claimed or taken over so far."""
        async with aiohttp.ClientSession(raise_for_status=True) as http, http.get(self.metrics_url) as reply:
            families = text_string_to_metric_families(await reply.text())
            samples = [sample for family in families for sample in family.samples]
        return round(sum(sample.value for sample in samples if sample.name in _SYNCS_STARTED_METRICS))


@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """The running services."""

    replicas: tuple[Replica, ...]
    processes: ProcessGroup
    database_url: str
    """With the owner's role; the services have their own."""
    postmaster_pid: int

    def cpu(self) -> dict[str, float]:
        """Return the CPU seconds so far, by kind of process."""
        return {
            "connector_svc": sum(machine.cpu_seconds(replica.connector_pid) for replica in self.replicas),
            "catalog_svc": sum(machine.cpu_seconds(replica.catalog_pid) for replica in self.replicas),
            "postgresql": machine.tree_cpu_seconds(self.postmaster_pid),
        }


@dataclass(frozen=True, slots=True)
class _Addresses:
    connector: str
    catalog: str
    metrics: str


@asynccontextmanager
async def running_cluster(
    directory: Path,
    shops: Sequence[ServedShop],
    *,
    ca_file: str,
    replicas: int = 1,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[Cluster]:
    """Start the services on an empty database.

    Args:
        directory: New directory for their files.
        shops: The shops that connector_svc knows.
        ca_file: Certificate authority of the stores that serve the shops.
        replicas: Number of replicas of each service.
        settings: Further settings of catalog_svc.
    """
    machine.create_directory(directory)
    async with embedded_postgres(directory / "postgres") as url:
        await migrate_database(url)
        async with running_services(
            directory, shops, ca_file=ca_file, database_url=url, replicas=replicas, settings=settings
        ) as cluster:
            yield cluster


@asynccontextmanager
async def running_services(
    directory: Path,
    shops: Sequence[ServedShop],
    *,
    ca_file: str,
    database_url: str,
    replicas: int = 1,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[Cluster]:
    """Start the services on a database that is there, of the embedded PostgreSQL in `directory`/postgres.

    See `running_cluster` for the other arguments.
    """
    async with AsyncExitStack() as stack:
        processes = await stack.enter_async_context(ProcessGroup(directory=ROOT, logs=directory))
        connector_settings = shop_settings(directory, shops, ca_file)
        addresses = [_Addresses(*free_addresses(3)) for _ in range(replicas)]
        catalog_settings = {
            **WITHOUT_SHOP_LIMITS,
            **(settings or {}),
            "CATALOG_DATABASE_URL": service_url(database_url),
        }
        for number, replica in enumerate(addresses):
            await _start(processes, number, replica, connector_settings, catalog_settings)
        async with asyncio.timeout(READY_TIMEOUT_SECONDS):
            await processes.supervise(_wait_all_serving(addresses))
        yield Cluster(
            replicas=tuple(
                [await _replica(stack, processes, number, replica) for number, replica in enumerate(addresses)]
            ),
            processes=processes,
            database_url=database_url,
            postmaster_pid=postmaster_pid(directory / "postgres"),
        )


async def migrate_database(url: str) -> None:
    """Create the tables of an empty database."""
    engine = open_engine(url, pool_size=2, command_timeout=None)
    try:
        await migrate(engine, service_role=SERVICE_ROLE)
    finally:
        await engine.dispose()


async def _start(
    processes: ProcessGroup,
    number: int,
    replica: _Addresses,
    connector_settings: Mapping[str, str],
    catalog_settings: Mapping[str, str],
) -> None:
    settings = {**connector_settings, "CONNECTOR_LISTEN_ADDRESS": replica.connector}
    await processes.start(f"connector_svc-{number}", "-m", "connector_svc", settings=settings)
    settings = {
        **catalog_settings,
        "CATALOG_LISTEN_ADDRESS": replica.catalog,
        "CATALOG_CONNECTOR_ADDRESS": replica.connector,
        "CATALOG_METRICS_ADDRESS": replica.metrics,
    }
    await processes.start(f"catalog_svc-{number}", "-m", "catalog_svc", settings=settings)


async def _wait_all_serving(addresses: Sequence[_Addresses]) -> None:
    for replica in addresses:
        await wait_until_serving(replica.connector, CONNECTOR_SERVICE)
        await wait_until_serving(replica.catalog, CATALOG_SERVICE)


async def _replica(stack: AsyncExitStack, processes: ProcessGroup, number: int, replica: _Addresses) -> Replica:
    options = Options(catalog=replica.catalog, connector=replica.connector)
    return Replica(
        client=await stack.enter_async_context(open_catalog(options)),
        address=replica.catalog,
        catalog_pid=processes.pids[f"catalog_svc-{number}"],
        connector_pid=processes.pids[f"connector_svc-{number}"],
        metrics_url=f"http://{replica.metrics}/metrics",
    )
