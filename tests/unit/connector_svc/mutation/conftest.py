from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import ClientSession

from connector_svc.platforms.shopify.queries import PATH, product_page
from devstore.catalog.model import Platform
from devstore.server import serving
from devstore.spec import ShopSpec

MAX_VARIANTS = 4


@pytest.fixture(scope="session")
async def shopify_nodes() -> list[Any]:
    """Products as the devstore's Shopify answers our own query, without those that have many variants."""
    spec = ShopSpec(platform=Platform.SHOPIFY, domain="mutated.myshopify.com", products=80)
    async with serving([spec], tls_dir=None, throttle=False) as store, ClientSession() as session:
        asked = {
            "query": product_page(inventory=True).text,
            "variables": {"first": 80, "after": None, "query": None},
        }
        headers = {"X-Shopify-Access-Token": spec.credentials["access_token"]}
        async with session.post(store.base_url(spec.domain) + PATH, json=asked, headers=headers) as reply:
            nodes = json.loads(await reply.read())["data"]["products"]["nodes"]
    found = [node for node in nodes if len(node["variants"]["nodes"]) <= MAX_VARIANTS]
    assert len(found) > 20
    return found
