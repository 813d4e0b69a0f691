from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from connector_svc.platforms.shopify import ShopifyPlatform
from connector_svc.platforms.shopify.read_strategy import BulkPolicy
from devstore.catalog.model import Platform as Face
from tests.contract.platforms.devstore_harness import DevstoreMaker
from tests.contract.platforms.harness import HarnessMaker, PlatformHarness

# Bulk operations in every full pass, however small, and without long waits.
BULK = BulkPolicy(
    min_products=0, first_poll_interval=timedelta(milliseconds=20), max_poll_interval=timedelta(milliseconds=50)
)

# To run the suite on a platform: one line here.
MAKERS: dict[str, HarnessMaker] = {
    "shopify": DevstoreMaker(face=Face.SHOPIFY, domain="demo.myshopify.com"),
    "shopify-bulk": DevstoreMaker(
        face=Face.SHOPIFY, domain="large.myshopify.com", make=partial(ShopifyPlatform, bulk_policy=BULK)
    ),
    "woocommerce-8.2": DevstoreMaker(face=Face.WOOCOMMERCE, domain="old.example", version="8.2"),
    "woocommerce-10.3": DevstoreMaker(face=Face.WOOCOMMERCE, domain="store.example", version="10.3"),
    "bigcommerce": DevstoreMaker(face=Face.BIGCOMMERCE, domain="store-abc123.mybigcommerce.com"),
    "feed-ndjson": DevstoreMaker(face=Face.FEED, domain="shop.example"),
    "feed-csv": DevstoreMaker(face=Face.FEED, domain="shop.example", feed_format="csv.gz"),
}


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for the certificates of stores, created once."""
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="session", params=MAKERS)
def maker(request: pytest.FixtureRequest) -> HarnessMaker:
    return MAKERS[request.param]


@pytest.fixture
async def source(maker: HarnessMaker, scratch: Path) -> AsyncIterator[PlatformHarness]:
    """A shop with all difficult products of its platform."""
    async with maker(products=60, scratch=scratch) as harness:
        yield harness


@pytest.fixture
async def ordinary(maker: HarnessMaker, scratch: Path) -> AsyncIterator[PlatformHarness]:
    """A shop without difficult products: a read takes a tenth of the time."""
    async with maker(products=60, scratch=scratch, edge_cases=False) as harness:
        yield harness


@pytest.fixture
async def empty(maker: HarnessMaker, scratch: Path) -> AsyncIterator[PlatformHarness]:
    """A shop that has no products yet."""
    async with maker(products=0, scratch=scratch) as harness:
        yield harness
