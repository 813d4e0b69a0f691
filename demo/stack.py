"""Starts the devstore, connector_svc, catalog_svc and the BFF, each once the one before it is ready."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiohttp
import grpc
from catalogsync_client import ShopName
from catalogsync_common.channel import open_channel
from grpc_health.v1 import health_pb2, health_pb2_grpc

from demo.keys import DemoKeys, write_private
from demo.processes import ProcessGroup
from demo.workspace import HOST, Workspace, choose_ports

T = TypeVar("T")
# The first start creates a PostgreSQL cluster.
READY_TIMEOUT_SECONDS = 90.0
SEED = 7
SHOPS = ("shopify:demo.myshopify.com:products=800", "woocommerce:store.example:products=1000,version=10.3")
CATALOG_SERVICE = "catalogsync.catalog.v1.CatalogService"
CONNECTOR_SERVICE = "catalogsync.connector.v1.ConnectorService"


class NotReady(Exception):
    """A process runs but did not become ready in time."""

    def __init__(self, name: str, log: Path) -> None:
        super().__init__(f"{name} was not ready after {READY_TIMEOUT_SECONDS:.0f} s; see {log}")


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoShop:
    """A shop of the devstore."""

    name: ShopName
    base_url: str
    credentials: Mapping[str, str]
    product_count: int
    item_count: int
    """The counts that a complete sync stores, as reported by the devstore."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stack:
    """Addresses of the running system."""

    catalog: str
    """host:port."""
    connector: str
    """host:port."""
    devstore: str
    """URL."""
    page: str
    """URL of the BFF's page."""
    ca_file: str
    """The CA of the devstore's certificate."""
    shops: tuple[DemoShop, ...]


async def start_stack(
    processes: ProcessGroup, workspace: Workspace, keys: DemoKeys, print_step: Callable[[str], None]
) -> Stack:
    """Start all processes of the demo.

    Args:
        processes: Group that the processes are started in.
        workspace: Directory of the demo.
        keys: Keys and secrets of the services.
        print_step: Called with a line of text before each start.

    Raises:
        ProcessExited: A process exited; the message holds the end of its log.
        NotReady: A process was not ready within READY_TIMEOUT_SECONDS.
    """
    ports = choose_ports(workspace.ports)
    print_step("Starting the devstore ...")
    devstore = await _start_devstore(processes, workspace, ports["devstore"])
    shops = tuple(_shop(name, ready) for name, ready in devstore["shops"].items())
    _write_credentials(workspace.credentials, shops)

    print_step("Starting connector_svc ...")
    connector = f"{HOST}:{ports['connector']}"
    settings = {
        **keys.connector_settings,
        "CONNECTOR_LISTEN_ADDRESS": connector,
        "CONNECTOR_CREDENTIALS_FILE": str(workspace.credentials),
        "CONNECTOR_CA_FILE": str(devstore["ca_file"]),
        "CONNECTOR_ENDPOINT_OVERRIDES": json.dumps({shop.name.domain: shop.base_url for shop in shops}),
    }
    await _start_service(processes, workspace, "connector_svc", settings, connector, CONNECTOR_SERVICE)

    print_step("Starting PostgreSQL and catalog_svc ...")
    catalog = f"{HOST}:{ports['catalog']}"
    settings = {
        **keys.catalog_settings,
        "CATALOG_LISTEN_ADDRESS": catalog,
        "CATALOG_CONNECTOR_ADDRESS": connector,
        "CATALOG_DATA_DIR": str(workspace.postgres),
        "CATALOG_TEXT_SEARCH": "1",
    }
    await _start_service(processes, workspace, "catalog_svc", settings, catalog, CATALOG_SERVICE)

    print_step("Starting the BFF ...")
    store = str(devstore["listening"])
    page = f"http://{HOST}:{ports['bff']}"
    settings = {
        **keys.bff_settings,
        "BFF_LISTEN_ADDRESS": f"{HOST}:{ports['bff']}",
        "BFF_CATALOG_ADDRESS": catalog,
        "BFF_IMAGE_HOSTS": urlsplit(store).netloc,
        "BFF_IMAGE_CA_FILE": str(devstore["ca_file"]),
    }
    await processes.start("bff", "-m", "catalogsync_bff", settings=settings)
    workspace.record_processes(processes.pids)
    await _wait_ready(processes, workspace, "bff", wait_until_ready(f"{page}/readyz"))
    ca_file = str(devstore["ca_file"])
    return Stack(catalog=catalog, connector=connector, devstore=store, page=page, ca_file=ca_file, shops=shops)


async def _start_devstore(processes: ProcessGroup, workspace: Workspace, port: int) -> dict[str, Any]:
    """Return the line of JSON that the devstore prints when it listens."""
    arguments = ["-m", "devstore", "--listen", f"{HOST}:{port}", "--tls-dir", str(workspace.tls)]
    arguments += ["--seed", str(SEED)]
    for shop in SHOPS:
        arguments += ["--shop", shop]
    await processes.start("devstore", *arguments, stdout=workspace.devstore_stdout)
    workspace.record_processes(processes.pids)
    line = await _wait_ready(processes, workspace, "devstore", read_first_line(workspace.devstore_stdout))
    ready: dict[str, Any] = json.loads(line)
    return ready


async def _start_service(
    processes: ProcessGroup,
    workspace: Workspace,
    module: str,
    settings: Mapping[str, str],
    address: str,
    service: str,
) -> None:
    await processes.start(module, "-m", module, settings=settings)
    workspace.record_processes(processes.pids)
    await _wait_ready(processes, workspace, module, wait_until_serving(address, service))


async def _wait_ready(processes: ProcessGroup, workspace: Workspace, name: str, wait: Coroutine[Any, Any, T]) -> T:
    try:
        async with asyncio.timeout(READY_TIMEOUT_SECONDS):
            return await processes.supervise(wait)
    except TimeoutError:
        raise NotReady(name, workspace.logs / f"{name}.log") from None


async def read_first_line(file: Path) -> str:
    """Wait until the file holds whole lines, and return the first one."""
    while True:
        text = await asyncio.to_thread(file.read_text, encoding="utf-8")
        if text.endswith("\n"):
            return text.splitlines()[0]
        await asyncio.sleep(0.05)


async def wait_until_serving(address: str, service: str) -> None:
    """Poll the health check at `address` (host:port) until it answers SERVING for `service`."""
    request = health_pb2.HealthCheckRequest(service=service)
    async with open_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        while True:
            try:
                answer = await stub.Check(request, timeout=2, wait_for_ready=True)
            except grpc.aio.AioRpcError:
                answer = None
            if answer is not None and answer.status == health_pb2.HealthCheckResponse.SERVING:
                return
            await asyncio.sleep(0.1)


async def wait_until_ready(url: str) -> None:
    """Poll the address until it answers with 200."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
        while True:
            try:
                async with session.get(url) as response:
                    if response.status == HTTPStatus.OK:
                        return
            except (aiohttp.ClientError, TimeoutError):
                pass
            await asyncio.sleep(0.1)


def _shop(name: str, ready: Mapping[str, Any]) -> DemoShop:
    return DemoShop(
        name=ShopName.parse(name),
        base_url=ready["base_url"],
        credentials=ready["credentials"],
        product_count=ready["listed_products"],
        item_count=ready["items"],
    )


def _write_credentials(file: Path, shops: tuple[DemoShop, ...]) -> None:
    """Write the credentials file of connector_svc, readable by its owner only."""
    tables = []
    for shop in shops:
        # A JSON string is a valid TOML string.
        lines = [f"{key} = {json.dumps(value)}" for key, value in shop.credentials.items()]
        tables.append("\n".join([f"[{shop.name.platform}.{json.dumps(shop.name.domain)}]", *lines, ""]))
    write_private(file, "\n".join(tables))
