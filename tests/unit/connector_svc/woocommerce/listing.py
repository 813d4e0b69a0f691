"""A product list that changes while it is read: the part of a store that paging depends on."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from yarl import URL

from connector_svc.domain.shop import Shop
from connector_svc.platforms.base import Credentials, HttpReply, Secret
from connector_svc.platforms.woocommerce.auth import Authenticator, QueryKeyShops
from connector_svc.platforms.woocommerce.client import StoreClient

SHOP = Shop("woocommerce", "store.example")


def row(key: int, **changes: Any) -> dict[str, Any]:
    """A sound simple product."""
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
class Listing:
    """Implements ShopHttp over a table of products; `between` changes the table after each page."""

    rows: dict[int, dict[str, Any]]
    between: Callable[[Listing], None] = lambda _listing: None
    base_url: URL = field(default_factory=lambda: URL("https://store.example"))
    unreadable: set[int] = field(default_factory=set)
    """Counted by the store, and left out of its pages."""
    tells_total: bool = True
    calls: int = 0

    @classmethod
    def of(cls, ids: Iterable[int], **options: Any) -> Listing:
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
        asked = dict(params)
        offset, size = int(asked.get("offset", "0")), int(asked["per_page"])
        ids = sorted(self.rows)
        page = [self.rows[key] for key in ids[offset : offset + size] if key not in self.unreadable]
        reply = HttpReply(
            status=200,
            headers={"X-WP-Total": str(len(ids))} if self.tells_total else {},
            body=json.dumps(page).encode() if method == "GET" else b"",
        )
        if method == "GET":
            self.between(self)
        return reply

    def download(self, url: str, *, hosts: Collection[str], max_bytes: int) -> AsyncGenerator[bytes, None]:
        raise AssertionError("a shop of WooCommerce has no files")


class OneKey:
    """A provider with one key."""

    async def credentials(self, shop: Shop, *, refused: Credentials | None = None) -> Credentials:
        return {"consumer_key": Secret("ck"), "consumer_secret": Secret("cs")}


def client_of(http: Listing) -> StoreClient:
    """A client of `http` that waits for nothing."""
    authenticator = Authenticator(SHOP, OneKey(), QueryKeyShops(), secure=True)
    return StoreClient(SHOP, http, authenticator, pause=0)
