"""The small system with a BFF: catalog_svc requires tokens, the BFF has the keys to make them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import aiohttp
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync_bff.sessions import HANDOVER_AUDIENCE
from catalogsync_bff.signed_claims import SignedClaims
from catalogsync_client import CatalogClient, ServiceSecret
from catalogsync_common.auth.secret_keys import HmacKeys

from tests.bff_client import BffClient
from tests.e2e.conftest import free_port
from tests.e2e.small_system import DOMAIN, SmallSystem, small_system
from tests.waiting import until_found

MERCHANT = "m-a"
"""Owns the shop of the devstore."""
STRANGER = "m-b"
"""Owns another shop, that is never synced."""
OTHER_DOMAIN = "other.myshopify.com"

_CLIENT_KEY = "client-1:" + "c" * 43
SERVICE_SECRET = "bff:" + "s" * 43
_HANDOVER_KEY = ("platform-1", "h" * 43)
_SESSION_KEY = "session-1:" + "e" * 43
_ISSUER = "bff"
CATALOG_SETTINGS = {"CLIENT_KEYS": _CLIENT_KEY, "CLIENT_ISSUER": _ISSUER, "SERVICE_SECRETS": SERVICE_SECRET}


@dataclass(kw_only=True)
class BffSystem:
    """The running system."""

    small: SmallSystem
    url: str
    """The origin of the BFF."""
    settings: Mapping[str, str] = field(repr=False)
    """Of the BFF."""

    async def start_bff(self, name: str = "bff", **settings: str) -> None:
        """Start the BFF, at the same address each time."""
        environment = {**self.settings, **{f"BFF_{key}": value for key, value in settings.items()}}
        await self.small.processes.start(name, "-m", "catalogsync_bff", settings=environment)
        async with aiohttp.ClientSession() as session:
            await until_found(lambda: _is_ready(session, self.url))

    @asynccontextmanager
    async def browser(self, subject: str = f"merchant:{MERCHANT}", **claims: Any) -> AsyncIterator[BffClient]:
        """Yield a browser with a session of this subject."""
        async with BffClient(self.url) as client:
            answer = await client.call("POST", "/session", json={"token": handover(subject, **claims)})
            assert answer.status == 201, answer.body
            yield client

    @asynccontextmanager
    async def client(self, name: str = "catalog") -> AsyncIterator[CatalogClient]:
        """Yield a client of a replica of catalog_svc with all rights."""
        async with CatalogClient(
            self.small.catalog_address(name), credentials=ServiceSecret(SERVICE_SECRET)
        ) as client:
            yield client

    async def shop_id(self, domain: str = DOMAIN) -> str:
        """Return the id of a shop."""
        async with self.client() as client:
            return (await client.get_shop(f"shopify:{domain}")).shop.shop_id


@asynccontextmanager
async def bff_system(
    *, products: int, latency_ms: int = 0, common: Mapping[str, str] | None = None, **settings: str
) -> AsyncIterator[BffSystem]:
    """Yield a system with one replica each, "connector", "catalog" and "bff", and two merchants.

    Args:
        products: of the shop of the devstore.
        latency_ms: of each request of the devstore.
        common: settings of all three processes, without prefix.
        settings: of the BFF, without prefix.
    """
    async with small_system(products=products, latency_ms=latency_ms) as small:
        common = common or {}
        await small.start_connector("connector", **common)
        await small.start_catalog("catalog", **CATALOG_SETTINGS, **common)
        address = f"127.0.0.1:{free_port()}"
        own = {
            **bff_settings(
                address=address,
                catalog=small.catalog_address("catalog"),
                image_hosts=urlsplit(small.store).netloc,
                image_ca_file=small.ca_file,
            ),
            **{f"BFF_{key}": value for key, value in {**common, **settings}.items()},
        }
        system = BffSystem(small=small, url=f"http://{address}", settings=own)
        async with system.client() as client:
            for domain, merchant in ((DOMAIN, MERCHANT), (OTHER_DOMAIN, STRANGER)):
                await client.register_shop(
                    pb.RegisterShopRequest(platform="shopify", domain=domain, merchant_id=merchant)
                )
        await system.start_bff()
        yield system


def handover(subject: str, **claims: Any) -> str:
    """Return a hand-over token of the merchants' platform."""
    platform = SignedClaims(
        HmacKeys([_HANDOVER_KEY]), audience=HANDOVER_AUDIENCE, max_lifetime=timedelta(minutes=2)
    )
    return platform.sign({"sub": subject, "jti": uuid4().hex, **claims}, lifetime=timedelta(minutes=1))


def bff_settings(*, address: str, catalog: str, image_hosts: str, image_ca_file: str) -> dict[str, str]:
    """Return the settings of a BFF at the address, for a catalog_svc with `CATALOG_SETTINGS`."""
    return {
        "BFF_LISTEN_ADDRESS": address,
        "BFF_CATALOG_ADDRESS": catalog,
        "BFF_SERVICE_SECRET": SERVICE_SECRET,
        "BFF_CLIENT_KEY": _CLIENT_KEY,
        "BFF_CLIENT_ISSUER": _ISSUER,
        "BFF_HANDOVER_KEYS": ":".join(_HANDOVER_KEY),
        "BFF_SESSION_KEYS": _SESSION_KEY,
        "BFF_IMAGE_HOSTS": image_hosts,
        "BFF_IMAGE_CA_FILE": image_ca_file,
    }


async def _is_ready(session: aiohttp.ClientSession, url: str) -> bool | None:
    try:
        async with session.get(f"{url}/readyz") as response:
            return True if response.status == 200 else None
    except aiohttp.ClientError:
        return None
