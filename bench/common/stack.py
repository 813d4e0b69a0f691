"""One connector_svc and one catalog_svc with its embedded PostgreSQL, as processes, for a store with one shop."""

from __future__ import annotations

import asyncio
import json
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from catalogsync_cli.client import open_catalog
from catalogsync_cli.command import Options
from catalogsync_client import CatalogClient
from sqlalchemy.ext.asyncio import AsyncEngine

from bench.common.machine import create_directory
from bench.common.results import ROOT
from bench.common.store import READY_TIMEOUT_SECONDS, ServedShop, Store
from catalog_svc.storage.embedded import embedded_postgres
from catalog_svc.storage.engine import open_engine
from demo.processes import ProcessGroup
from demo.stack import CATALOG_SERVICE, CONNECTOR_SERVICE, wait_until_serving


@dataclass(frozen=True, kw_only=True, slots=True)
class Stack:
    """The running services, with what a benchmark measures them by."""

    catalog: CatalogClient
    processes: ProcessGroup
    engine: AsyncEngine
    database_url: str
    catalog_pid: int
    connector_pid: int
    postmaster_pid: int


@contextmanager
def temporary_directory(benchmark: str) -> Iterator[Path]:
    """Create a directory that a PostgreSQL may live in, and remove it at the end."""
    prefix = f"catalogsync-bench-{benchmark}-"
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as directory:
        yield Path(directory)


@asynccontextmanager
async def running_stack(
    directory: Path, store: Store, *, connector_settings: Mapping[str, str] | None = None
) -> AsyncIterator[Stack]:
    """Start both services on an empty database.

    Args:
        directory: New directory for their files.
        store: The store that connector_svc reads from.
        connector_settings: Further settings of connector_svc.
    """
    create_directory(directory)
    connector, catalog = free_addresses(2)
    async with ProcessGroup(directory=ROOT, logs=directory) as processes:
        settings = {**shop_settings(directory, store.shops, store.ca_file), **(connector_settings or {})}
        await _start_services(processes, directory, connector, catalog, settings)
        # A second user of the PostgreSQL that catalog_svc has started.
        async with embedded_postgres(directory / "postgres") as url:
            engine = open_engine(url, pool_size=1)
            try:
                async with open_catalog(Options(catalog=catalog, connector=connector)) as client:
                    yield Stack(
                        catalog=client,
                        processes=processes,
                        engine=engine,
                        database_url=url,
                        catalog_pid=processes.pids["catalog_svc"],
                        connector_pid=processes.pids["connector_svc"],
                        postmaster_pid=postmaster_pid(directory / "postgres"),
                    )
            finally:
                await engine.dispose()


async def _start_services(
    processes: ProcessGroup, directory: Path, connector: str, catalog: str, connector_settings: Mapping[str, str]
) -> None:
    settings = {"CONNECTOR_LISTEN_ADDRESS": connector, **connector_settings}
    await processes.start("connector_svc", "-m", "connector_svc", settings=settings)
    settings = {
        "CATALOG_LISTEN_ADDRESS": catalog,
        "CATALOG_CONNECTOR_ADDRESS": connector,
        "CATALOG_DATA_DIR": str(directory / "postgres"),
        **WITHOUT_SHOP_LIMITS,
    }
    await processes.start("catalog_svc", "-m", "catalog_svc", settings=settings)
    async with asyncio.timeout(READY_TIMEOUT_SECONDS):
        await processes.supervise(wait_until_serving(connector, CONNECTOR_SERVICE))
        await processes.supervise(wait_until_serving(catalog, CATALOG_SERVICE))


WITHOUT_SHOP_LIMITS: Final = MappingProxyType(
    {"CATALOG_START_SYNC_INTERVAL": "0", "CATALOG_MAX_WATCHERS_PER_SHOP": "10000"}
)
"""Settings of catalog_svc: benchmarks measure with few shops what many shops do."""


def free_addresses(count: int) -> list[str]:
    """Return different free addresses (host:port): all ports are bound until the last one is found.

    The default ports are not used, since a demo may listen there.
    """
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [f"127.0.0.1:{probe.getsockname()[1]}" for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def shop_settings(directory: Path, shops: Sequence[ServedShop], ca_file: str) -> dict[str, str]:
    """Write the credentials file of the shops, and return the settings with which connector_svc reads them."""
    tables = []
    for shop in shops:
        # A JSON string is a valid TOML string.
        keys = [f"{key} = {json.dumps(value)}" for key, value in shop.credentials.items()]
        tables.append("\n".join([f"[{shop.name.platform}.{json.dumps(shop.name.domain)}]", *keys, ""]))
    credentials = directory / "credentials.toml"
    credentials.touch(mode=0o600)
    credentials.write_text("\n".join(tables), encoding="utf-8")
    return {
        "CONNECTOR_CREDENTIALS_FILE": str(credentials),
        "CONNECTOR_CA_FILE": ca_file,
        "CONNECTOR_ENDPOINT_OVERRIDES": json.dumps({shop.name.domain: shop.base_url for shop in shops}),
    }


def postmaster_pid(data_dir: Path) -> int:
    """Return the process id of the PostgreSQL that runs in a data directory."""
    return int((data_dir / "postmaster.pid").read_text().split()[0])
