"""The lists that the read benchmark reads, page by page over gRPC."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync_client import CatalogClient

from bench.read.rows import COMMON_SKU, PRODUCTS_PER_POSITION, GeneratedShop

_WALK_PAGE_SIZES: Final = {"items": 1_000, "products": 250, "syncs": 500}
"""The largest sizes, with which the page tokens of a list are collected."""


@dataclass(frozen=True, kw_only=True, slots=True)
class List:
    """One list: a method with its filters."""

    name: str
    kind: str
    """"items", "products" or "syncs"."""
    filters: dict[str, Any]
    is_search: bool = False
    """Whether it needs text search."""


@dataclass(kw_only=True, slots=True)
class Walk:
    """All pages of a list."""

    tokens: list[str] = field(default_factory=list)
    """Of the second page to the last one."""
    records: int = 0
    seconds: float = 0.0


def lists(shop: GeneratedShop) -> list[List]:
    """Return the lists: each filter alone and the pairs that are harder than their parts."""
    middle = shop.products // 2 + 1
    rare = f"No. {middle}"
    newest = {"after_position": shop.newest_position - 10 * shop.products // 100 // PRODUCTS_PER_POSITION}
    of_shop = {"shop": pb.ShopRef(shop_id=str(shop.shop_id))}
    items: dict[str, dict[str, Any]] = {
        "no filter": {},
        "include_deleted": {"include_deleted": True},
        "sku": {"sku": shop.sku(middle)},
        "sku of 10 % of the items": {"sku": COMMON_SKU},
        "product_id": {"product_id": shop.product_id(middle)},
        "after_position, all changes": {"after_position": 1, "include_deleted": True},
        "after_position, 10 % newest": {**newest, "include_deleted": True},
        "text, frequent": {"text": "shirt"},
        "text, one product": {"text": rare},
        "text, only in the last products": {"text": "winter"},
        "text, none": {"text": "zzzqqq"},
        "text and sku": {"text": "shirt", "sku": COMMON_SKU},
        "text and after_position": {"text": "shirt", **newest},
        "sku and after_position": {"sku": COMMON_SKU, **newest},
    }
    products: dict[str, dict[str, Any]] = {
        "no filter": {},
        "include_deleted": {"include_deleted": True},
        "text, frequent": {"text": "shirt"},
        "text, one product": {"text": rare},
        "text, only in the last products": {"text": "winter"},
    }
    syncs: dict[str, dict[str, Any]] = {
        "of all shops": {},
        "of a shop": of_shop,
        "of a shop, failed": {**of_shop, "states": [pb.Sync.STATE_FAILED]},
        "of all shops, failed or cancelled": {"states": [pb.Sync.STATE_FAILED, pb.Sync.STATE_CANCELLED]},
    }
    return [
        *_named("items", "ListItems", items, of_shop),
        *_named("products", "ListProducts", products, of_shop),
        *_named("syncs", "ListSyncs", syncs, {}),
    ]


def _named(kind: str, method: str, filters: dict[str, dict[str, Any]], common: dict[str, Any]) -> list[List]:
    return [
        List(name=f"{method}, {name}", kind=kind, filters={**common, **values}, is_search="text" in values)
        for name, values in filters.items()
    ]


async def read_page(client: CatalogClient, which: List, token: str, *, size: int = 0) -> tuple[int, str]:
    """Read a page; return its number of records and the token of the next page.

    Args:
        client: Client of catalog_svc.
        which: The list.
        token: Of the page; empty: the first page.
        size: Number of records; 0: the default of the method.
    """
    values = {**which.filters, "page_token": token, "page_size": size}
    if which.kind == "items":
        items = await client.list_items(pb.ListItemsRequest(**values))
        return len(items.items), items.next_page_token
    if which.kind == "products":
        products = await client.list_products(pb.ListProductsRequest(**values))
        return len(products.products), products.next_page_token
    syncs = await client.list_syncs(pb.ListSyncsRequest(**values))
    return len(syncs.syncs), syncs.next_page_token


async def walk(
    client: CatalogClient, which: List, timed: Callable[[Awaitable[tuple[int, str]]], Awaitable[Any]]
) -> Walk:
    """Read the whole list in pages of the largest size, and return the tokens of its pages."""
    pages = Walk()
    token = ""
    while True:
        (records, token), seconds = await timed(read_page(client, which, token, size=_WALK_PAGE_SIZES[which.kind]))
        pages.records += records
        pages.seconds += seconds
        if not token:
            return pages
        pages.tokens.append(token)
