"""The pair of services that the security tests attack, and the credentials that they have for it.

By default the tests start a pair of their own. To run them against another one, which must have no shops yet but
can read two of them, describe it in a JSON file and name that in CATALOGSYNC_SECURITY_TARGET:

    {"catalog": "host:port", "connector": "host:port", "client_key": "kid:key", "issuer": "...",
     "operator_key": "kid:key", "catalog_secret": "name:secret", "connector_secret": "name:secret",
     "shops": ["shopify:one.myshopify.com", "woocommerce:two.example"]}
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from catalogsync_common.channel import open_channel
from catalogsync_common.token_claims import AUTHORIZATION_HEADER, SCOPES, SERVICE_SECRET_HEADER
from catalogsync_common.token_minting import SigningKey, mint_client_token, mint_operator_token

from demo.processes import ProcessGroup
from demo.stack import read_first_line, wait_until_serving
from tests.e2e.conftest import CATALOG, CONNECTOR, ROOT, free_port

Metadata = tuple[tuple[str, str], ...]

SHOPS: Final = ("shopify:one.myshopify.com", "woocommerce:two.example")
_LIMITS: Final = ("AUTH_FAILURES_PER_SECOND", "SERVICE_CALLS_PER_SECOND")
"""Switched off: the tests call more often than any client, and with more wrong tokens."""
_PRODUCTS: Final = "products=20,edge_cases=off"


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Addresses and credentials of the pair."""

    catalog: str
    connector: str
    client_key: SigningKey
    issuer: str
    operator_key: SigningKey
    catalog_secret: str = field(repr=False)
    connector_secret: str = field(repr=False)
    shops: tuple[str, ...] = SHOPS
    logs: Path | None = None
    """Where the services write their logs, if they were started here."""
    pids: Mapping[str, int] = field(default_factory=dict)
    """The processes by name, if they were started here."""

    @classmethod
    def load(cls, file: Path) -> Target:
        """Return the target that a JSON file describes."""
        described: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        keys = {name: SigningKey.parse(described.pop(name)) for name in ("client_key", "operator_key")}
        return cls(**{**described, **keys, "shops": tuple(described["shops"])})

    @property
    def service(self) -> Metadata:
        """The metadata of a service of catalog_svc."""
        return ((SERVICE_SECRET_HEADER, self.catalog_secret),)

    @property
    def connector_service(self) -> Metadata:
        """The metadata of a service of connector_svc."""
        return ((SERVICE_SECRET_HEADER, self.connector_secret),)

    def operator(self, scopes: Iterable[str] = SCOPES) -> Metadata:
        """Return the metadata of an operator."""
        return bearer(mint_operator_token(self.operator_key, "tester", scopes=scopes))

    def client(self, *, scopes: Iterable[str] = SCOPES, domain: str = "", merchant_id: str = "") -> Metadata:
        """Return the metadata of a client."""
        return bearer(
            mint_client_token(
                self.client_key, issuer=self.issuer, domain=domain, merchant_id=merchant_id, scopes=scopes
            )
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetShop:
    """A synced shop of the target."""

    platform: str
    domain: str
    merchant_id: str
    shop_id: str
    sync_id: str
    product_id: str
    item_id: str

    @property
    def refs(self) -> tuple[pb.ShopRef, pb.ShopRef]:
        """Both ways to name the shop."""
        return pb.ShopRef(shop_id=self.shop_id), pb.ShopRef(platform=self.platform, domain=self.domain)


def bearer(token: str) -> Metadata:
    """Return the metadata with a token."""
    return ((AUTHORIZATION_HEADER, f"Bearer {token}"),)


async def sync_shops(target: Target) -> tuple[TargetShop, TargetShop]:
    """Register the two shops of the target for two merchants, and sync them."""
    async with open_channel(target.catalog) as channel:
        stub = CatalogServiceStub(channel)
        one, two = [await _sync_shop(stub, target, name, f"merchant-{name[:3]}") for name in target.shops]
    return one, two


async def _sync_shop(stub: CatalogServiceStub, target: Target, name: str, merchant_id: str) -> TargetShop:
    platform, _, domain = name.partition(":")
    service = target.service
    await stub.RegisterShop(
        pb.RegisterShopRequest(platform=platform, domain=domain, merchant_id=merchant_id), metadata=service
    )
    ref = pb.ShopRef(platform=platform, domain=domain)
    sync = (await stub.StartSync(pb.StartSyncRequest(shop=ref, mode=pb.Sync.MODE_FULL), metadata=service)).sync
    async with asyncio.timeout(120):
        async for message in stub.WatchSync(pb.WatchSyncRequest(sync_id=sync.sync_id), metadata=service):
            sync = message.sync
    assert sync.state == pb.Sync.STATE_SUCCEEDED, sync
    item = (await stub.ListItems(pb.ListItemsRequest(shop=ref, page_size=1), metadata=service)).items[0]
    return TargetShop(
        platform=platform,
        domain=domain,
        merchant_id=merchant_id,
        shop_id=sync.shop.shop_id,
        sync_id=sync.sync_id,
        product_id=item.product_id,
        item_id=item.item_id,
    )


@asynccontextmanager
async def running_target(directory: Path) -> AsyncIterator[Target]:
    """Run a devstore and a pair of services with authentication, as real processes, and yield the target."""
    logs = directory / "logs"
    logs.mkdir()
    client_key, operator_key = (SigningKey(kid=kid, key=secrets.token_hex(32)) for kid in ("c1", "o1"))
    target = Target(
        catalog=f"127.0.0.1:{free_port()}",
        connector=f"127.0.0.1:{free_port()}",
        client_key=client_key,
        issuer="bff",
        operator_key=operator_key,
        catalog_secret=f"tester:{secrets.token_hex(32)}",
        connector_secret=f"catalog:{secrets.token_hex(32)}",
        logs=logs,
    )
    async with ProcessGroup(directory=ROOT, logs=logs) as processes:
        store = await _start_devstore(processes, directory)
        await processes.start(
            "connector_svc", "-m", "connector_svc", settings=_connector_settings(directory, target, store)
        )
        await processes.start("catalog_svc", "-m", "catalog_svc", settings=_catalog_settings(directory, target))
        async with asyncio.timeout(90):
            await processes.supervise(wait_until_serving(target.connector, CONNECTOR))
            await processes.supervise(wait_until_serving(target.catalog, CATALOG))
        yield replace(target, pids=processes.pids)


async def _start_devstore(processes: ProcessGroup, directory: Path) -> dict[str, Any]:
    ready_file = directory / "devstore.json"
    arguments = [part for shop in SHOPS for part in ("--shop", f"{shop}:{_PRODUCTS}")]
    await processes.start(
        "devstore", "-m", "devstore", "--listen", "127.0.0.1:0", "--tls-dir", str(directory / "tls"),
        "--no-throttle", *arguments, stdout=ready_file,
    )  # fmt: skip
    async with asyncio.timeout(60):
        ready: dict[str, Any] = json.loads(await processes.supervise(read_first_line(ready_file)))
    return ready


def _connector_settings(directory: Path, target: Target, store: dict[str, Any]) -> dict[str, str]:
    credentials = directory / "credentials.toml"
    tables = []
    for name, shop in store["shops"].items():
        platform, _, domain = name.partition(":")
        lines = [f"{key} = {json.dumps(value)}" for key, value in shop["credentials"].items()]
        tables.append("\n".join([f"[{platform}.{json.dumps(domain)}]", *lines, ""]))
    credentials.write_text("\n".join(tables))
    credentials.chmod(0o600)
    overrides = {name.partition(":")[2]: shop["base_url"] for name, shop in store["shops"].items()}
    return {
        "CONNECTOR_LISTEN_ADDRESS": target.connector,
        "CONNECTOR_SERVICE_SECRETS": target.connector_secret,
        **{f"CONNECTOR_{name}": "0" for name in _LIMITS},
        "CONNECTOR_CREDENTIALS_FILE": str(credentials),
        "CONNECTOR_CA_FILE": store["ca_file"],
        "CONNECTOR_ENDPOINT_OVERRIDES": json.dumps(overrides),
    }


def _catalog_settings(directory: Path, target: Target) -> dict[str, str]:
    return {
        "CATALOG_LISTEN_ADDRESS": target.catalog,
        "CATALOG_CONNECTOR_ADDRESS": target.connector,
        "CATALOG_CONNECTOR_SECRET": target.connector_secret,
        "CATALOG_SERVICE_SECRETS": target.catalog_secret,
        **{f"CATALOG_{name}": "0" for name in (*_LIMITS, "CLIENT_CALLS_PER_SECOND", "START_SYNC_INTERVAL")},
        "CATALOG_CLIENT_KEYS": f"{target.client_key.kid}:{target.client_key.key}",
        "CATALOG_CLIENT_ISSUER": target.issuer,
        "CATALOG_OPERATOR_KEYS": f"{target.operator_key.kid}:{target.operator_key.key}",
        "CATALOG_DATA_DIR": str(directory / "postgres"),
        "CATALOG_TEXT_SEARCH": "1",
    }
