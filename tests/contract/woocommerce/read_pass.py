"""Read a pass of a store with the real HTTP client, as bootstrap wires it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from yarl import URL

from connector_svc.domain.fetch import Batch, End, FetchRequest, Header, Wait
from connector_svc.domain.product import Product, Variant
from connector_svc.domain.records import RecordIssue
from connector_svc.domain.shop import Shop
from connector_svc.http.client import open_http
from connector_svc.http.config import Endpoints, HttpConfig
from connector_svc.http.dependencies import HttpDependencies
from connector_svc.platforms.base import Credentials, Platform, Secret
from connector_svc.platforms.woocommerce import WooCommercePlatform
from tests import tls

SHOP = Shop("woocommerce", "store.example")


@dataclass
class FakeCredentials:
    """A credentials provider that returns the next of its answers whenever one is rejected; the last one stays."""

    answers: list[Credentials]
    refused: list[Credentials] = field(default_factory=list)

    async def credentials(self, shop: Shop, *, refused: Credentials | None = None) -> Credentials:
        if refused is not None:
            self.refused.append(refused)
            if len(self.answers) > 1:
                self.answers.pop(0)
        return self.answers[0]


def credentials(key: str, secret: str) -> Credentials:
    """Return credentials as a credentials file contains them."""
    return {"consumer_key": Secret(key), "consumer_secret": Secret(secret)}


async def _no_sleep(_delay: timedelta) -> None:
    return None


@asynccontextmanager
async def platform_at(
    url: URL | str, ring: FakeCredentials, *, ca: Path | None = None, **options: Any
) -> AsyncIterator[Platform]:
    """Open the platform with its `options` and SHOP at `url`; retries have no delay."""
    config = HttpConfig(endpoints=Endpoints.of({SHOP.domain: str(url)}), tls=tls.client_context(ca))
    async with open_http(config, HttpDependencies(sleep=_no_sleep)) as http:
        yield WooCommercePlatform(http, ring, lambda: datetime.now(UTC), **options)


@dataclass
class Pass:
    """All events and waits of one pass."""

    headers: list[Header] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)
    ends: list[End] = field(default_factory=list)
    waits: list[Wait] = field(default_factory=list)

    @property
    def products(self) -> list[Product]:
        return [product for batch in self.batches for product in batch.products]

    @property
    def issues(self) -> list[RecordIssue]:
        return [issue for batch in self.batches for issue in batch.issues]

    @property
    def end(self) -> End:
        (end,) = self.ends
        return end

    def by_id(self) -> Mapping[str, Product]:
        return {product.id: product for product in self.products}

    def items(self) -> Mapping[str, Variant]:
        return {variant.id: variant for product in self.products for variant in product.variants}


async def read_pass(
    platform: Platform, request: FetchRequest | None = None, *, after_batch: Callable[[Pass], None] | None = None
) -> Pass:
    """Read one whole pass; `after_batch` is called after each batch with the pass so far."""
    seen = Pass()
    async for event in platform.fetch(request or FetchRequest(shop=SHOP), on_wait=seen.waits.append):
        match event:
            case Header():
                assert not seen.headers
                assert not seen.batches
                seen.headers.append(event)
            case Batch():
                assert not seen.ends
                seen.batches.append(event)
                if after_batch is not None:
                    after_batch(seen)
            case End():
                seen.ends.append(event)
    return seen


def product_ids(products: Iterable[Product]) -> list[str]:
    """Return the ids of products in their order."""
    return [product.id for product in products]
