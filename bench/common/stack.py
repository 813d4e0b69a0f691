"""The real system as processes: a store, connector_svc, catalog_svc and its embedded PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from catalogsync_cli.client import CatalogClient, open_catalog
from catalogsync_cli.options import Options
from catalogsync_cli.shop import ShopName
from sqlalchemy.ext.asyncio import AsyncEngine

from catalog_svc.storage.embedded import embedded_postgres
from catalog_svc.storage.engine import open_engine
from demo.processes import ProcessGroup
from demo.stack import CATALOG_SERVICE, CONNECTOR_SERVICE, read_first_line, serving

ROOT = Path(__file__).parents[1]
READY_PATIENCE = 120.0
"""Seconds; an index of 250,000 products takes a few."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """Of a store, since its start."""

    given: int
    worked_out: int
    """Those that it did not remember."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Store:
    """A running `bench.common.store_server`."""

    name: ShopName
    pid: int
    family: ProcessGroup
    url: str
    base_url: str
    ca_file: str
    credentials: dict[str, str]
    products: int
    items: int

    async def choose(self, generation: int) -> None:
        """Serves generation 0 or 1 from now on."""
        await self._told("POST", f"generation/{generation}")

    async def delay(self, ms: int) -> None:
        """Answers so much later from now on."""
        await self._told("POST", f"latency/{ms}")

    async def answers(self) -> Answers:
        """What it has answered so far."""
        return Answers(**await self._told("GET", "answers"))

    async def _told(self, method: str, what: str) -> dict[str, int]:
        trust = ssl.create_default_context(cafile=self.ca_file)
        async with (
            aiohttp.ClientSession(raise_for_status=True) as http,
            http.request(method, f"{self.url}/_bench/{what}", ssl=trust) as reply,
        ):
            told: dict[str, int] = await reply.json()
        return told


@dataclass(frozen=True, kw_only=True, slots=True)
class Stack:
    """The running services, and what a benchmark looks at."""

    catalog: CatalogClient
    family: ProcessGroup
    engine: AsyncEngine
    database_url: str
    catalog_pid: int
    connector_pid: int
    postmaster_pid: int


@contextmanager
def workplace(name: str) -> Iterator[Path]:
    """A temporary directory that a PostgreSQL may live in."""
    with tempfile.TemporaryDirectory(prefix=f"catalogsync-bench-{name}-", ignore_cleanup_errors=True) as place:
        yield Path(place)


def _free_address() -> str:
    """Any but the usual ones, where somebody's demo may answer."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def _made(place: Path) -> Path:
    place.mkdir(parents=True)
    return place


@asynccontextmanager
async def running_store(place: Path, shop: str, *, remember: bool) -> AsyncIterator[Store]:
    """Serves one shop, written as the devstore's --shop."""
    answer = _made(place) / "store.json"
    arguments = ["-m", "bench.common.store_server", "--shop", shop, "--tls-dir", str(place / "tls")]
    async with ProcessGroup(directory=ROOT, logs=place) as family:
        await family.start("store", *arguments, *(["--remember"] if remember else []), stdout=answer)
        async with asyncio.timeout(READY_PATIENCE):
            told = json.loads(await family.supervise(read_first_line(answer)))
        name = ShopName.parse(":".join(shop.split(":")[:2]))
        yield Store(name=name, pid=family.pids["store"], family=family, **told)


@asynccontextmanager
async def running_stack(
    place: Path, store: Store, *, connector_settings: Mapping[str, str] | None = None
) -> AsyncIterator[Stack]:
    """Fresh services on an empty database; `connector_settings` are more of connector_svc."""
    _made(place)
    connector, catalog = _free_address(), _free_address()
    async with ProcessGroup(directory=ROOT, logs=place) as family:
        told = {**_connector_settings(place, connector, store), **(connector_settings or {})}
        await family.start("connector_svc", "-m", "connector_svc", settings=told)
        settings = {
            "CATALOG_LISTEN_ADDRESS": catalog,
            "CATALOG_CONNECTOR_ADDRESS": connector,
            "CATALOG_DATA_DIR": str(place / "postgres"),
        }
        await family.start("catalog_svc", "-m", "catalog_svc", settings=settings)
        async with asyncio.timeout(READY_PATIENCE):
            await family.supervise(serving(connector, CONNECTOR_SERVICE))
            await family.supervise(serving(catalog, CATALOG_SERVICE))
        # A second user of the PostgreSQL that catalog_svc has started.
        async with embedded_postgres(place / "postgres") as url:
            engine = open_engine(url, pool_size=1)
            try:
                async with open_catalog(Options(catalog=catalog, connector=connector)) as client:
                    yield Stack(
                        catalog=client,
                        family=family,
                        engine=engine,
                        database_url=url,
                        catalog_pid=family.pids["catalog_svc"],
                        connector_pid=family.pids["connector_svc"],
                        postmaster_pid=int((place / "postgres" / "postmaster.pid").read_text().split()[0]),
                    )
            finally:
                await engine.dispose()


def _connector_settings(place: Path, address: str, store: Store) -> dict[str, str]:
    lines = [f"{key} = {json.dumps(value)}" for key, value in store.credentials.items()]
    table = f"[{store.name.platform}.{json.dumps(store.name.domain)}]"
    credentials = place / "credentials.toml"
    credentials.touch(mode=0o600)
    credentials.write_text("\n".join([table, *lines, ""]), encoding="utf-8")
    return {
        "CONNECTOR_LISTEN_ADDRESS": address,
        "CONNECTOR_CREDENTIALS_FILE": str(credentials),
        "CONNECTOR_CA_FILE": store.ca_file,
        "CONNECTOR_ENDPOINT_OVERRIDES": json.dumps({store.name.domain: store.base_url}),
    }
