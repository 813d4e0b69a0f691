"""A running WooCommerce store of the devstore, and the platform that reads it over a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from connector_svc.platforms.base import Platform
from devstore.catalog.catalog import Catalog
from devstore.catalog.model import Platform as DevPlatform
from devstore.server import RunningStore, serving
from devstore.shop import Shop
from devstore.spec import ShopSpec
from tests.contract.woocommerce.read_pass import SHOP, FakeCredentials, credentials, platform_at

KEY, SECRET = "ck_dev", "cs_dev"


class Store:
    """A running store: its catalog and its requests."""

    def __init__(self, running: RunningStore) -> None:
        self.running = running

    @property
    def shop(self) -> Shop:
        return self.running.shops[SHOP.domain]

    @property
    def catalog(self) -> Catalog:
        return self.running.catalog(SHOP.domain)

    def live_ids(self) -> set[str]:
        """Return the ids of the products that are not in the trash."""
        return {str(product.id) for product in self.catalog.products() if product.status != "trash"}

    def stock(self) -> dict[str, int | None]:
        """Return the stock by item id."""
        return {item.item_id: item.stock for item in self.catalog.sellable_items()}


@asynccontextmanager
async def woo_store(
    directory: Path | None,
    *,
    secret: str = SECRET,
    latency: float = 0.0,
    options: Mapping[str, Any] | None = None,
    **spec: Any,
) -> AsyncIterator[tuple[Store, Platform]]:
    """Serve a store and yield it with the platform.

    Args:
        directory: For certificates; None: serve over plain http.
        options: Arguments of the platform.
    """
    shop = ShopSpec(platform=DevPlatform.WOOCOMMERCE, domain=SHOP.domain, key=KEY, secret=SECRET, **spec)
    ring = FakeCredentials([credentials(KEY, secret)])
    async with (
        serving([shop], tls_dir=directory, latency=latency) as running,
        platform_at(running.base_url(SHOP.domain), ring, ca=running.ca_file, **(options or {})) as platform,
    ):
        yield Store(running), platform
