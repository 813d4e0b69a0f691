"""Any number of replicas of both services on one PostgreSQL.

Replica n of catalog_svc reads from replica n of connector_svc: what a load balancer would do in the long run is
even here from the start.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from catalogsync_cli.client import CatalogClient, open_catalog
from catalogsync_cli.options import Options
from prometheus_client.parser import text_string_to_metric_families

from bench.common import machine
from bench.common.stack import READY_PATIENCE, ROOT
from bench.common.store import ServedShop
from catalog_svc.storage.embedded import embedded_postgres
from catalog_svc.storage.engine import open_engine
from catalog_svc.storage.schema import migrate
from demo.processes import ProcessGroup
from demo.stack import CATALOG_SERVICE, CONNECTOR_SERVICE, serving

KINDS = ("connector_svc", "catalog_svc", "postgresql")
"""Processes of ours whose CPU counts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Replica:
    """One catalog_svc and the connector_svc that it reads from."""

    client: CatalogClient
    address: str
    """Of the catalog, host:port."""
    catalog_pid: int
    connector_pid: int
    metrics_url: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """The running services."""

    replicas: tuple[Replica, ...]
    family: ProcessGroup
    database_url: str
    postmaster_pid: int

    def cpu(self) -> dict[str, float]:
        """CPU seconds so far, by kind of process."""
        return {
            "connector_svc": sum(machine.cpu_seconds(replica.connector_pid) for replica in self.replicas),
            "catalog_svc": sum(machine.cpu_seconds(replica.catalog_pid) for replica in self.replicas),
            "postgresql": machine.family_cpu_seconds(self.postmaster_pid),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class _Addresses:
    connector: str
    catalog: str
    metrics: str


@asynccontextmanager
async def running_cluster(
    place: Path,
    shops: Sequence[ServedShop],
    *,
    ca_file: str,
    replicas: int = 1,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[Cluster]:
    """Fresh services on an empty database; `settings` are more of catalog_svc."""
    _make(place)
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(embedded_postgres(place / "postgres"))
        await _migrate(url)
        family = await stack.enter_async_context(ProcessGroup(directory=ROOT, logs=place))
        shared = _connector_settings(place, shops, ca_file)
        addresses = [_Addresses(**_free_addresses()) for _ in range(replicas)]
        for number, one in enumerate(addresses):
            await _start(family, number, one, shared, {**(settings or {}), "CATALOG_DATABASE_URL": url})
        async with asyncio.timeout(READY_PATIENCE):
            await family.supervise(_all_serving(addresses))
        yield Cluster(
            replicas=tuple([await _replica(stack, family, number, one) for number, one in enumerate(addresses)]),
            family=family,
            database_url=url,
            postmaster_pid=int((place / "postgres" / "postmaster.pid").read_text().split()[0]),
        )


async def syncs_taken_up(replica: Replica) -> int:
    """How many syncs this replica has run so far."""
    async with aiohttp.ClientSession(raise_for_status=True) as http, http.get(replica.metrics_url) as reply:
        families = text_string_to_metric_families(await reply.text())
        samples = [sample for family in families for sample in family.samples]
    names = ("catalog_syncs_claimed_total", "catalog_syncs_taken_over_total")
    return round(sum(sample.value for sample in samples if sample.name in names))


def _make(place: Path) -> None:
    place.mkdir(parents=True)


async def _migrate(url: str) -> None:
    engine = open_engine(url, pool_size=2, command_timeout=None)
    try:
        await migrate(engine)
    finally:
        await engine.dispose()


async def _start(
    family: ProcessGroup, number: int, one: _Addresses, connector: Mapping[str, str], catalog: Mapping[str, str]
) -> None:
    settings = {**connector, "CONNECTOR_LISTEN_ADDRESS": one.connector}
    await family.start(f"connector_svc-{number}", "-m", "connector_svc", settings=settings)
    settings = {
        **catalog,
        "CATALOG_LISTEN_ADDRESS": one.catalog,
        "CATALOG_CONNECTOR_ADDRESS": one.connector,
        "CATALOG_METRICS_ADDRESS": one.metrics,
    }
    await family.start(f"catalog_svc-{number}", "-m", "catalog_svc", settings=settings)


async def _all_serving(addresses: Sequence[_Addresses]) -> None:
    for one in addresses:
        await serving(one.connector, CONNECTOR_SERVICE)
        await serving(one.catalog, CATALOG_SERVICE)


async def _replica(stack: AsyncExitStack, family: ProcessGroup, number: int, one: _Addresses) -> Replica:
    options = Options(catalog=one.catalog, connector=one.connector)
    return Replica(
        client=await stack.enter_async_context(open_catalog(options)),
        address=one.catalog,
        catalog_pid=family.pids[f"catalog_svc-{number}"],
        connector_pid=family.pids[f"connector_svc-{number}"],
        metrics_url=f"http://{one.metrics}/metrics",
    )


def _free_addresses() -> dict[str, str]:
    """Different ones: all are held until the last is found."""
    names = ("connector", "catalog", "metrics")
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in names]
    try:
        ports = [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()
    return {name: f"127.0.0.1:{port}" for name, port in zip(names, ports, strict=True)}


def _connector_settings(place: Path, shops: Sequence[ServedShop], ca_file: str) -> dict[str, str]:
    tables = []
    for shop in shops:
        # JSON's strings are TOML's, too.
        keys = [f"{key} = {json.dumps(value)}" for key, value in shop.credentials.items()]
        tables.append("\n".join([f"[{shop.name.platform}.{json.dumps(shop.name.domain)}]", *keys, ""]))
    credentials = place / "credentials.toml"
    credentials.touch(mode=0o600)
    credentials.write_text("\n".join(tables), encoding="utf-8")
    return {
        "CONNECTOR_CREDENTIALS_FILE": str(credentials),
        "CONNECTOR_CA_FILE": ca_file,
        "CONNECTOR_ENDPOINT_OVERRIDES": json.dumps({shop.name.domain: shop.base_url for shop in shops}),
    }


def core_count() -> int:
    """CPUs that this machine lets us use."""
    return len(os.sched_getaffinity(0))
