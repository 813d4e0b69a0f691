"""Simple clients that read a shop as others do, and the warm-up of a store's cache with their requests."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator
from typing import Any, ClassVar

import aiohttp

from bench.common.store import ServedShop, Store
from bench.peers.job import PRODUCT_FIELDS, VARIATION_FIELDS, listing_params

_VARIANT = """
id title sku barcode price compareAtPrice inventoryQuantity inventoryPolicy availableForSale createdAt updatedAt
selectedOptions { name value } inventoryItem { tracked measurement { weight { value unit } } }
"""
_PRODUCT = "id title handle descriptionHtml vendor productType tags status createdAt updatedAt"


class ShopifyPages:
    """Pages through the products of a Shopify shop, and asks again after THROTTLED."""

    query: ClassVar[str]
    pause_seconds: float
    """After each page."""
    throttled_pause_seconds: float
    """After THROTTLED."""

    async def variant_count(self, url: str, token: str) -> int:
        """Read all products, and return how many variants came."""
        async with aiohttp.ClientSession(headers={"X-Shopify-Access-Token": token}) as http:
            return sum([len(node["variants"]["nodes"]) async for page in self.pages(http, url) for node in page])

    async def pages(self, http: aiohttp.ClientSession, url: str) -> AsyncGenerator[list[Any], None]:
        """Yield the products of each page."""
        after: str | None = None
        while True:
            page = await self._page(http, url, after)
            yield page["nodes"]
            if not page["pageInfo"]["hasNextPage"]:
                return
            after = page["pageInfo"]["endCursor"]
            await asyncio.sleep(self.pause_seconds)

    async def _page(self, http: aiohttp.ClientSession, url: str, after: str | None) -> Any:
        while True:
            async with http.post(url, json={"query": self.query, "variables": {"after": after}}) as reply:
                body = await reply.json()
            if "errors" not in body:
                return body["data"]["products"]
            codes = {error.get("extensions", {}).get("code") for error in body["errors"]}
            if codes != {"THROTTLED"}:
                raise RuntimeError(f"the devstore answered with errors: {body['errors']}")
            await asyncio.sleep(self.throttled_pause_seconds)


class LegacyShopifyPages(ShopifyPages):
    """The legacy query: 250 products with 100 variants and 10 images, half a second of sleep between pages."""

    query = f"""query($after: String) {{ products(first: 250, after: $after) {{
        nodes {{ {_PRODUCT} featuredMedia {{ id }} media(first: 10) {{ nodes {{ id }} }}
          variants(first: 100) {{
            nodes {{ id title sku price inventoryQuantity selectedOptions {{ name value }} }} }} }}
        pageInfo {{ hasNextPage endCursor }} }} }}"""

    def __init__(self, pause_seconds: float = 0.5) -> None:
        self.pause_seconds = pause_seconds
        self.throttled_pause_seconds = 0.5


class SmallShopifyPages(ShopifyPages):
    """50 products a page, with all the fields that we read, asked for again a second after THROTTLED."""

    query = f"""query($after: String) {{ products(first: 50, after: $after) {{
        nodes {{ {_PRODUCT} options {{ name values }} variantsCount {{ count }}
          media(first: 50) {{ nodes {{ id alt ... on MediaImage {{ image {{ url width height }} }} }} }}
          variants(first: 250) {{ nodes {{ {_VARIANT} media(first: 1) {{ nodes {{ id }} }} }} }} }}
        pageInfo {{ hasNextPage endCursor }} }} }}"""
    pause_seconds = 0.0
    throttled_pause_seconds = 1.0


async def woocommerce_pages(
    http: aiohttp.ClientSession, url: str, params: dict[str, str]
) -> AsyncGenerator[list[dict[str, Any]], None]:
    """Yield every page of a WooCommerce list, following the Link headers."""
    async with http.get(url, params=params) as reply:
        yield await reply.json()
        following = reply.links.get("next")
    while following is not None:
        async with http.get(following["url"]) as reply:
            yield await reply.json()
            following = reply.links.get("next")


async def warm_up_cache(store: Store) -> None:
    """Send the store every request that dlt (default and tuned) and the legacy peer will send for generation 0."""
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=store.ca_file))
    async with aiohttp.ClientSession(connector=connector, raise_for_status=True) as http:
        warm_up = _warm_up_shopify if "access_token" in store.shop.credentials else _warm_up_woocommerce
        await store.processes.supervise(warm_up(http, store.shop))


async def _warm_up_shopify(http: aiohttp.ClientSession, shop: ServedShop) -> None:
    http.headers["X-Shopify-Access-Token"] = shop.credentials["access_token"]
    client = LegacyShopifyPages(pause_seconds=0.0)
    async for _ in client.pages(http, f"{shop.base_url}/admin/api/2026-10/graphql.json"):
        pass


async def _warm_up_woocommerce(http: aiohttp.ClientSession, shop: ServedShop) -> None:
    http.headers["Authorization"] = aiohttp.encode_basic_auth(
        shop.credentials["consumer_key"], shop.credentials["consumer_secret"]
    )
    products = f"{shop.base_url}/wp-json/wc/v3/products"
    params = listing_params(fields="id", product_type="variable")
    parents = [row["id"] async for page in woocommerce_pages(http, products, params) for row in page]
    for product_fields, variation_fields in (("", ""), (PRODUCT_FIELDS, VARIATION_FIELDS)):
        async for _ in woocommerce_pages(http, products, listing_params(fields=product_fields)):
            pass
        for parent in parents:
            url = f"{products}/{parent}/variations"
            async for _ in woocommerce_pages(http, url, listing_params(fields=variation_fields)):
                pass
