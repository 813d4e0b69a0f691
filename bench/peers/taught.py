"""Asks a store what peers will ask it, so that it answers them from memory."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator
from typing import Any

import aiohttp

from bench.peers.questions import PRODUCT_FIELDS, VARIATION_FIELDS, listing
from bench.simple_clients import OldSystem
from bench.stack import Store


async def teach(store: Store) -> None:
    """All that dlt, default and tuned, and the old design ask of generation 0."""
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=store.ca_file))
    async with aiohttp.ClientSession(connector=connector, raise_for_status=True) as http:
        await store.family.during(
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
