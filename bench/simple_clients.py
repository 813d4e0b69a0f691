"""How others read a Shopify shop: small, honest clients to compare with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, Protocol

import aiohttp

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
