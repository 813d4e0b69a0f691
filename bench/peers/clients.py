"""How others read a Shopify shop: small, honest clients to compare with.

Asks a store what peers will ask it, so that it answers them from memory."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator
from typing import Any, Protocol

import aiohttp

from bench.common.stack import Store
from bench.peers.job import PRODUCT_FIELDS, VARIATION_FIELDS, listing

_VARIANT = """
id title sku barcode price compareAtPrice inventoryQuantity inventoryPolicy availableForSale createdAt updatedAt
selectedOptions { name value } inventoryItem { tracked measurement { weight { value unit } } }
"""
_PRODUCT = "id title handle descriptionHtml vendor productType tags status createdAt updatedAt"


class SimpleClient(Protocol):
    """Reads all products of a shop."""

    async def read(self, url: str, token: str) -> int:
        """How many variants came."""
        ...


class _PageByPage:
    """Pages until there is none; on THROTTLED it waits and asks again."""

    query: str
    pause: float
    """Seconds after each page."""
    back_off: float
    """Seconds after THROTTLED."""

    async def read(self, url: str, token: str) -> int:
        """How many variants came."""
        async with aiohttp.ClientSession(headers={"X-Shopify-Access-Token": token}) as http:
            return sum([len(node["variants"]["nodes"]) async for page in self.pages(http, url) for node in page])

    async def pages(self, http: aiohttp.ClientSession, url: str) -> AsyncGenerator[list[Any], None]:
        """The products of each page."""
        after: str | None = None
        while True:
            page = await self._page(http, url, after)
            yield page["nodes"]
            if not page["pageInfo"]["hasNextPage"]:
                return
            after = page["pageInfo"]["endCursor"]
            await asyncio.sleep(self.pause)

    async def _page(self, http: aiohttp.ClientSession, url: str, after: str | None) -> Any:
        while True:
            async with http.post(url, json={"query": self.query, "variables": {"after": after}}) as reply:
                body = await reply.json()
            if "errors" not in body:
                return body["data"]["products"]
            codes = {error.get("extensions", {}).get("code") for error in body["errors"]}
            if codes != {"THROTTLED"}:
                raise RuntimeError(f"the devstore does not answer: {body['errors']}")
            await asyncio.sleep(self.back_off)


class OldSystem(_PageByPage):
    """250 products with 100 variants and 10 images, half a second of sleep between pages."""

    query = f"""query($after: String) {{ products(first: 250, after: $after) {{
        nodes {{ {_PRODUCT} featuredMedia {{ id }} media(first: 10) {{ nodes {{ id }} }}
          variants(first: 100) {{
            nodes {{ id title sku price inventoryQuantity selectedOptions {{ name value }} }} }} }}
        pageInfo {{ hasNextPage endCursor }} }} }}"""
    pause = 0.5
    back_off = 0.5


class LittlePages(_PageByPage):
    """50 products a page, with all that we read, asked for again a second after THROTTLED."""

    query = f"""query($after: String) {{ products(first: 50, after: $after) {{
        nodes {{ {_PRODUCT} options {{ name values }} variantsCount {{ count }}
          media(first: 50) {{ nodes {{ id alt ... on MediaImage {{ image {{ url width height }} }} }} }}
          variants(first: 250) {{ nodes {{ {_VARIANT} media(first: 1) {{ nodes {{ id }} }} }} }} }}
        pageInfo {{ hasNextPage endCursor }} }} }}"""
    pause = 0.0
    back_off = 1.0


async def teach(store: Store) -> None:
    """All that dlt, default and tuned, and the old design ask of generation 0."""
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=store.ca_file))
    async with aiohttp.ClientSession(connector=connector, raise_for_status=True) as http:
        await store.family.supervise(
            _shopify(http, store) if "access_token" in store.credentials else _woo(http, store)
        )


async def _shopify(http: aiohttp.ClientSession, store: Store) -> None:
    http.headers["X-Shopify-Access-Token"] = store.credentials["access_token"]
    query = OldSystem()
    query.pause = 0.0
    async for _ in query.pages(http, f"{store.base_url}/admin/api/2026-10/graphql.json"):
        pass


async def _woo(http: aiohttp.ClientSession, store: Store) -> None:
    http.headers["Authorization"] = aiohttp.encode_basic_auth(
        store.credentials["consumer_key"], store.credentials["consumer_secret"]
    )
    products = f"{store.base_url}/wp-json/wc/v3/products"
    parents = [
        row["id"] async for page in followed(http, products, listing(fields="id", kind="variable")) for row in page
    ]
    for fields, below in (("", ""), (PRODUCT_FIELDS, VARIATION_FIELDS)):
        async for _ in followed(http, products, listing(fields=fields)):
            pass
        for parent in parents:
            async for _ in followed(http, f"{products}/{parent}/variations", listing(fields=below)):
                pass


async def followed(
    http: aiohttp.ClientSession, url: str, params: dict[str, str]
) -> AsyncGenerator[list[dict[str, Any]], None]:
    """Every page of a list of WooCommerce, as its Links lead."""
    async with http.get(url, params=params) as reply:
        yield await reply.json()
        following = reply.links.get("next")
    while following is not None:
        async with http.get(following["url"]) as reply:
            yield await reply.json()
            following = reply.links.get("next")
