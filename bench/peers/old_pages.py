"""How the old design reads: page by page, one call after the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import aiohttp

from bench.peers.job import Job
from bench.peers.old_shapes import OldRecord, from_shopify, from_woocommerce
from bench.peers.questions import listing
from bench.peers.taught import followed
from bench.simple_clients import OldSystem

Pages = AsyncGenerator[list[OldRecord], None]


async def shopify(http: aiohttp.ClientSession, job: Job) -> Pages:
    """250 products a page with 100 variants each; more are not seen."""
    query = OldSystem()
    query.pause = float(job.options["pause"])
    http.headers["X-Shopify-Access-Token"] = job.credentials["access_token"]
    async for page in query.pages(http, f"{job.base_url}/admin/api/2026-10/graphql.json"):
        yield [from_shopify(node) for node in page]


async def woocommerce(http: aiohttp.ClientSession, job: Job) -> Pages:
    """100 products a page, and for each variable product one call for its variations, or one for each of them."""
    store = _Store(http, job)
    async for page in store.products():
        yield [from_woocommerce(row, await store.variations(row)) for row in page]
        await asyncio.sleep(float(job.options["pause"]))


class _Store:
    def __init__(self, http: aiohttp.ClientSession, job: Job) -> None:
        self._http = http
        self._url = f"{job.base_url}/wp-json/wc/v3/products"
        http.headers["Authorization"] = aiohttp.encode_basic_auth(
            job.credentials["consumer_key"], job.credentials["consumer_secret"]
        )
        self._one_by_one = job.options["variations"] == "one by one"

    def products(self) -> AsyncGenerator[list[dict[str, Any]], None]:
        return followed(self._http, self._url, listing())

    async def variations(self, row: dict[str, Any]) -> list[dict[str, Any]]:
        if row["type"] != "variable":
            return []
        below = f"{self._url}/{row['id']}/variations"
        if self._one_by_one:
            return [await self._one(f"{below}/{child}") for child in row["variations"]]
        return [variation async for page in followed(self._http, below, listing()) for variation in page]

    async def _one(self, url: str) -> dict[str, Any]:
        async with self._http.get(url) as reply:
            found: dict[str, Any] = await reply.json()
        return found
