"""`make bench-pacing`: what query points a Shopify shop gives, and what each way to read it makes of them.

Every way reads a fresh shop with the bucket of the Standard plan (2,000 points, 100 restored per second) and a
delay per reply; the dearest way gets a smaller shop. The share of points used is what was neither left over when
the last call was sent nor lost at the bucket's rim. A way whose bucket never runs dry is limited by the replies.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

from bench import report
from bench.measure import BenchFailed
from bench.points import Meter, Spent
from bench.simple_clients import LittlePages, OldSystem, SimpleClient
from connector_svc.domain.fetch import Batch, FetchRequest
from connector_svc.domain.shop import Shop
from connector_svc.http.client import OutboundHttp, open_http
from connector_svc.http.config import HttpConfig
from connector_svc.http.endpoints import Endpoints
from connector_svc.platforms.base import Credentials, Secret
from connector_svc.platforms.shopify import ShopifyPlatform
from connector_svc.platforms.shopify.bulk_policy import BulkPolicy
from connector_svc.platforms.shopify.client import ShopifyClient
from connector_svc.platforms.shopify.hydration import Hydration
from connector_svc.platforms.shopify.pages import Pages, Place
from devstore.catalog.model import Platform
from devstore.server import RunningStore, serving
from devstore.spec import ShopSpec

DOMAIN = "bench.myshopify.com"
SHOP = Shop("shopify", DOMAIN)
LEAST_USED = 0.97
"""Of the points given, for our own ways that spend points."""
SIZES = {"paging": 1.0, "sweep and hydrate": 2.0, "bulk": 1.0, "old system": 1.0, "50 per page": 0.25}
"""Times --products."""
PACED = ("paging", "sweep and hydrate")
OURS = (*PACED, "bulk")


class _Keys:
    def __init__(self, store: RunningStore) -> None:
        self._values = {name: Secret(value) for name, value in store.credentials(DOMAIN).items()}

    async def credentials(self, shop: Shop, *, refused: Credentials | None = None) -> Credentials:
        return self._values


@asynccontextmanager
async def _shop(products: int, latency: float) -> AsyncIterator[tuple[RunningStore, OutboundHttp]]:
    spec = ShopSpec(platform=Platform.SHOPIFY, domain=DOMAIN, products=products, edge_cases=False)
    async with serving([spec], tls_dir=None, latency=latency) as store:
        config = HttpConfig(endpoints=Endpoints.of({DOMAIN: store.base_url(DOMAIN)}))
        async with open_http(config) as http:
            yield store, http


async def _by_pages(store: RunningStore, http: OutboundHttp, way: Callable[..., Pages | Hydration]) -> int:
    client = ShopifyClient(
        SHOP,
        http=http.to_shop(SHOP),
        credentials=_Keys(store),
        clock=lambda: datetime.now(UTC),
        on_wait=lambda _: None,
    )
    items = 0
    reader = way(client, inventory=True, largest=250, pause=timedelta(seconds=1))
    async with aclosing(reader.from_place(Place(None))) as pages:
        async for page in pages:
            items += sum(len(record.product.variants) for record in page.records if record.product)
    return items


async def _by_bulk(store: RunningStore, http: OutboundHttp) -> int:
    platform = ShopifyPlatform(http, _Keys(store), lambda: datetime.now(UTC), bulk=BulkPolicy(from_products=1))
    items = 0
    request = FetchRequest(shop=SHOP)
    async with aclosing(platform.fetch(request, on_wait=lambda _: None)) as events:
        async for event in events:
            if isinstance(event, Batch):
                items += sum(len(product.variants) for product in event.products)
    return items


async def _simply(store: RunningStore, client: SimpleClient) -> int:
    token = store.credentials(DOMAIN)["access_token"]
    return await client.read(f"{store.base_url(DOMAIN)}/admin/api/2026-10/graphql.json", token)


async def _read(way: str, store: RunningStore, http: OutboundHttp) -> int:
    match way:
        case "paging":
            return await _by_pages(store, http, Pages)
        case "sweep and hydrate":
            return await _by_pages(store, http, Hydration)
        case "bulk":
            return await _by_bulk(store, http)
        case "old system":
            return await _simply(store, OldSystem())
        case _:
            return await _simply(store, LittlePages())


async def _measured(way: str, products: int, latency: float) -> Spent:
    async with _shop(round(products * SIZES[way]), latency) as (store, http):
        meter = Meter(store.shopify(DOMAIN).bucket, store.requests(DOMAIN))
        items = store.catalog(DOMAIN).item_count
        read = await _read(way, store, http)
        spent = meter.spent(items=items, read=read)
    if way in OURS:
        _check(way, spent)
    return spent


def _check(way: str, spent: Spent) -> None:
    if spent.read != spent.items:
        raise BenchFailed(f"{way}: {spent.read:,} of {spent.items:,} variants came")
    if spent.throttled:
        raise BenchFailed(f"{way}: {spent.throttled} calls were throttled")
    # A bucket that never runs dry is not what limits the reading.
    ran_dry = spent.given - spent.points < 1_000
    if way in PACED and ran_dry and spent.used_share < LEAST_USED:
        raise BenchFailed(f"{way}: {spent.used_share:.1%} of the points were used")


def _show(found: dict[str, Spent]) -> None:
    columns = ("", "points used", "calls /10k", "points /10k", "throttled", "read", "of", "seconds")
    rows: list[Sequence[str]] = []
    for way, spent in found.items():
        share = f"{spent.used_share:.1%}" if way != "bulk" else "-"
        per_10k = (f"{spent.calls_per_10k:,.1f}", f"{spent.points_per_10k:,.0f}")
        counts = (f"{spent.throttled}", f"{spent.read:,}", f"{spent.items:,}", f"{spent.seconds:.1f}")
        rows.append((way, share, *per_10k, *counts))
    report.show("Standard plan: 2,000 points, 100 restored per second; per 10,000 variants", columns, rows)


async def _all(ways: Sequence[str], products: int, latency: float) -> dict[str, Spent]:
    return {way: await _measured(way, products, latency) for way in ways}


def main() -> None:
    """Prints a table of all ways."""
    parser = argparse.ArgumentParser(prog="python -m bench.pacing", description=__doc__)
    parser.add_argument("--way", action="append", choices=tuple(SIZES), help="[default: all]")
    parser.add_argument("--products", type=int, default=4_000, help="of 6.5 variants each [default: 4000]")
    parser.add_argument("--latency-ms", type=float, default=200.0, help="per reply [default: 200]")
    asked = parser.parse_args()
    found = asyncio.run(_all(asked.way or tuple(SIZES), asked.products, asked.latency_ms / 1000))
    _show(found)
    report.result("pacing", {"ways": {way: asdict(spent) for way, spent in found.items()}})


if __name__ == "__main__":
    main()
