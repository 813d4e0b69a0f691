"""A fake store with a product list that changes while it is read."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from yarl import URL

from connector_svc.domain.shop import Shop
from connector_svc.platforms.base import Credentials, HttpReply, Secret
from connector_svc.platforms.woocommerce.auth import Authenticator, QueryAuthShops
from connector_svc.platforms.woocommerce.client import StoreClient

SHOP = Shop("woocommerce", "store.example")


def row(key: int, **changes: Any) -> dict[str, Any]:
    """Return the row of a valid simple product."""
    return {
        "id": key,
        "name": f"Product {key}",
        "type": "simple",
        "status": "publish",
        "sku": f"SKU-{key}",
        "price": "10.00",
        "regular_price": "10.00",
        "sale_price": "",
        "manage_stock": False,
        "stock_quantity": None,
        "stock_status": "instock",
        "variations": [],
        **changes,
    }


@dataclass
class FakeProductList:
    """Implements ShopHttp over a table of products; `after_page` changes the table after each page."""

    rows: dict[int, dict[str, Any]]
    after_page: Callable[[FakeProductList], None] = lambda _list: None
    base_url: URL = field(default_factory=lambda: URL("https://store.example"))
    hidden: set[int] = field(default_factory=set)
    """Ids that are counted and not listed."""
    has_total: bool = True
    calls: int = 0

    @classmethod
    def with_ids(cls, ids: Iterable[int], **options: Any) -> FakeProductList:
        return cls({key: row(key) for key in ids}, **options)

    async def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Sequence[tuple[str, str]] = (),
        body: bytes | None = None,
        idempotent: bool = True,
    ) -> HttpReply:
        assert path == "/wp-json/wc/v3/products"
        self.calls += 1
        query = dict(params)
        offset, size = int(query.get("offset", "0")), int(query["per_page"])
        ids = sorted(self.rows)
        page = [self.rows[key] for key in ids[offset : offset + size] if key not in self.hidden]
        reply = HttpReply(
            status=200,
            headers={"X-WP-Total": str(len(ids))} if self.has_total else {},
            body=json.dumps(page).encode() if method == "GET" else b"",
        )
        if method == "GET":
            self.after_page(self)
        return reply

    def download(self, url: str, *, hosts: Collection[str], max_bytes: int) -> AsyncGenerator[bytes, None]:
        raise AssertionError("WooCommerce has no files to download")


class FixedCredentials:
    """A credentials provider with one key."""

    async def credentials(self, shop: Shop, *, refused: Credentials | None = None) -> Credentials:
        return {"consumer_key": Secret("ck"), "consumer_secret": Secret("cs")}


def make_client(http: FakeProductList) -> StoreClient:
    """Return a client of `http` that retries without delay."""
    authenticator = Authenticator(SHOP, FixedCredentials(), QueryAuthShops(), secure=True)
    return StoreClient(SHOP, http, authenticator, retry_delay_seconds=0)
