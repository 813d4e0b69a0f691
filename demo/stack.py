"""Starts the devstore and both services, each when the one before it answers."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from catalogsync_cli.shop import ShopName
from catalogsync_common.channel import open_channel
from grpc_health.v1 import health_pb2, health_pb2_grpc

from demo.processes import Family
from demo.workspace import HOST, Place, choose_ports

READY_PATIENCE = 90.0
"""Seconds; the first start makes a PostgreSQL cluster."""
SEED = 7
SHOPS = ("shopify:demo.myshopify.com:products=800", "woocommerce:store.example:products=1000,version=10.3")
CATALOG_SERVICE = "catalogsync.catalog.v1.CatalogService"
CONNECTOR_SERVICE = "catalogsync.connector.v1.ConnectorService"


class NotReady(Exception):
    """A process lives but does not get ready."""

    def __init__(self, name: str, log: Path) -> None:
        super().__init__(f"{name} was not ready after {READY_PATIENCE:.0f} s; see {log}")


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoShop:
    """A shop of the devstore."""

    name: ShopName
    base_url: str
    credentials: Mapping[str, str]
    product_count: int
    item_count: int
    """What a complete sync ends up with, by the devstore's own book."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stack:
    """The running system."""

    catalog: str
    """host:port."""
    connector: str
    """host:port."""
    devstore: str
    """URL."""
    shops: tuple[DemoShop, ...]


async def start_stack(family: Family, place: Place, tell: Callable[[str], None]) -> Stack:
    """Starts everything. Raises ChildDied or NotReady, with the log to look into."""
    ports = choose_ports(place.ports)
    tell("Starting the devstore ...")
    devstore = await _start_devstore(family, place, ports["devstore"])
    shops = tuple(_shop(name, told) for name, told in devstore["shops"].items())
    _write_credentials(place.credentials, shops)

    tell("Starting connector_svc ...")
    connector = f"{HOST}:{ports['connector']}"
    settings = {
        "CONNECTOR_LISTEN_ADDRESS": connector,
        "CONNECTOR_CREDENTIALS_FILE": str(place.credentials),
        "CONNECTOR_CA_FILE": str(devstore["ca_file"]),
        "CONNECTOR_ENDPOINT_OVERRIDES": json.dumps({shop.name.domain: shop.base_url for shop in shops}),
    }
    await _start_service(family, place, "connector_svc", settings, connector, CONNECTOR_SERVICE)

    tell("Starting PostgreSQL and catalog_svc ...")
    catalog = f"{HOST}:{ports['catalog']}"
    settings = {
        "CATALOG_LISTEN_ADDRESS": catalog,
        "CATALOG_CONNECTOR_ADDRESS": connector,
        "CATALOG_DATA_DIR": str(place.postgres),
    }
    await _start_service(family, place, "catalog_svc", settings, catalog, CATALOG_SERVICE)
    return Stack(catalog=catalog, connector=connector, devstore=str(devstore["listening"]), shops=shops)


async def _start_devstore(family: Family, place: Place, port: int) -> dict[str, Any]:
    arguments = ["-m", "devstore", "--listen", f"{HOST}:{port}", "--tls-dir", str(place.tls), "--seed", str(SEED)]
    for shop in SHOPS:
        arguments += ["--shop", shop]
    await family.start("devstore", *arguments, answers=place.devstore_answer)
    place.note_users(family.pids)
    line = await _ready(family, place, "devstore", first_line(place.devstore_answer))
    answer: dict[str, Any] = json.loads(line)
    return answer


async def _start_service(
    family: Family, place: Place, module: str, settings: Mapping[str, str], address: str, service: str
) -> None:
    await family.start(module, "-m", module, settings=settings)
    place.note_users(family.pids)
    await _ready(family, place, module, serving(address, service))


async def _ready(family: Family, place: Place, name: str, sign: Any) -> Any:
    try:
        async with asyncio.timeout(READY_PATIENCE):
            return await family.during(sign)
    except TimeoutError:
        raise NotReady(name, place.logs / f"{name}.log") from None


async def first_line(file: Path) -> str:
    while True:
        text = await asyncio.to_thread(file.read_text, encoding="utf-8")
        if text.endswith("\n"):
            return text.splitlines()[0]
        await asyncio.sleep(0.05)


async def serving(address: str, service: str) -> None:
    """Returns when the service says that it is SERVING."""
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


def _shop(name: str, told: Mapping[str, Any]) -> DemoShop:
    return DemoShop(
        name=ShopName.parse(name),
        base_url=told["base_url"],
        credentials=told["credentials"],
        product_count=told["listed_products"],
        item_count=told["items"],
    )


def _write_credentials(file: Path, shops: tuple[DemoShop, ...]) -> None:
    """The file that connector_svc reads, for its owner's eyes only."""
    tables = []
    for shop in shops:
        # JSON's strings are TOML's, too.
        lines = [f"{key} = {json.dumps(value)}" for key, value in shop.credentials.items()]
        tables.append("\n".join([f"[{shop.name.platform}.{json.dumps(shop.name.domain)}]", *lines, ""]))
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as out:
        os.fchmod(descriptor, 0o600)
        out.write("\n".join(tables))
