"""`make bench-pacing`: the query cost of reading a Shopify shop, and the share of its points that is used.

Every reader gets a new shop with the bucket of the Standard plan (2,000 points, 100 restored per second) and a
latency per reply; the most expensive reader gets a smaller shop. The share of points used excludes those that
were left when the last call was sent, and those lost because the bucket was full. A reader whose bucket never runs
dry is limited by the latency.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

from bench.common.measure import BenchFailed
from bench.common.report import print_result, print_table
from bench.peers.clients import LegacyShopifyPages, ShopifyPages, SmallShopifyPages
from connector_svc.domain.fetch import Batch, FetchRequest
from connector_svc.domain.shop import Shop
from connector_svc.http.client import OutboundHttp, open_http
from connector_svc.http.config import Endpoints, HttpConfig
from connector_svc.platforms.base import Credentials, Secret
from connector_svc.platforms.shopify import ShopifyPlatform
from connector_svc.platforms.shopify.client import ShopifyClient
from connector_svc.platforms.shopify.hydration import HydratedPages
from connector_svc.platforms.shopify.pages import PageCursor, ProductPages
from connector_svc.platforms.shopify.read_strategy import BulkPolicy
from devstore.catalog.model import Platform
from devstore.request_log import RequestLog
from devstore.server import RunningStore, serving
from devstore.shopify.rate_limit import LeakyBucket
from devstore.spec import ShopSpec

DOMAIN = "bench.myshopify.com"
SHOP = Shop("shopify", DOMAIN)
# Of the available points, for our own readers that are limited by points.
MIN_USED_SHARE = 0.97
RELATIVE_SIZES = {
    "paging": 1.0,
    "id listing and hydration": 2.0,
    "bulk": 1.0,
    "legacy query": 1.0,
    "50 per page": 0.25,
}
"""Size of the shop by reader, in multiples of --products."""
POINT_LIMITED = ("paging", "id listing and hydration")
OURS = (*POINT_LIMITED, "bulk")


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryCost:
    """What reading a shop cost, in Shopify's points."""

    items: int
    """Variants in the shop."""
    read: int
    """Variants that were read."""
    calls: int
    throttled: int
    """Calls answered with THROTTLED."""
    points: int
    given: int
    """Available points: those in the bucket at first, and those restored until the last call was sent."""
    used_share: float
    """Share of `given` that was neither left when the last call was sent nor lost because the bucket was full."""
    calls_per_10k: float
    points_per_10k: float
    seconds: float


class QueryCostMeter:
    """Measures the query cost from its creation on, in the bucket and the traffic of a devstore shop."""

    def __init__(self, bucket: LeakyBucket, traffic: RequestLog) -> None:
        self._bucket = bucket
        self._traffic = traffic
        self._began = time.monotonic()

    def result(self, *, items: int, read: int) -> QueryCost:
        """Return the cost so far.

        Args:
            items: Variants in the shop.
            read: Variants that were read.
        """
        limit, first, last = self._bucket.limit, self._bucket.first_take, self._bucket.last_take
        assert first is not None
        assert last is not None
        given = limit.maximum + (last.at - first.at) * limit.per_second
        unused = last.left + self._bucket.lost - first.lost
        traffic = self._traffic
        return QueryCost(
            items=items,
            read=read,
            calls=traffic.calls,
            throttled=traffic.throttled,
            points=traffic.points,
            given=round(given),
            used_share=round(1 - unused / given, 4),
            calls_per_10k=round(traffic.calls * 10_000 / items, 2),
            points_per_10k=round(traffic.points * 10_000 / items, 1),
            seconds=round(time.monotonic() - self._began, 1),
        )


class _StoreCredentials:
    def __init__(self, store: RunningStore) -> None:
        self._values = {name: Secret(value) for name, value in store.credentials(DOMAIN).items()}

    async def credentials(self, shop: Shop, *, refused: Credentials | None = None) -> Credentials:
        return self._values


@asynccontextmanager
async def _running_shop(products: int, latency_seconds: float) -> AsyncIterator[tuple[RunningStore, OutboundHttp]]:
    spec = ShopSpec(platform=Platform.SHOPIFY, domain=DOMAIN, products=products, edge_cases=False)
    async with serving([spec], tls_dir=None, latency=latency_seconds) as store:
        config = HttpConfig(endpoints=Endpoints.of({DOMAIN: store.base_url(DOMAIN)}))
        async with open_http(config) as http:
            yield store, http


async def _read_by_pages(
    store: RunningStore, http: OutboundHttp, strategy: Callable[..., ProductPages | HydratedPages]
) -> int:
    client = ShopifyClient(
        SHOP,
        http=http.to_shop(SHOP),
        credentials=_StoreCredentials(store),
        clock=lambda: datetime.now(UTC),
        on_wait=lambda _: None,
    )
    items = 0
    reader = strategy(client, inventory=True, max_page_size=250, retry_delay=timedelta(seconds=1))
    async with aclosing(reader.read_from(PageCursor(None))) as pages:
        async for page in pages:
            items += sum(len(record.product.variants) for record in page.records if record.product)
    return items


async def _read_by_bulk(store: RunningStore, http: OutboundHttp) -> int:
    platform = ShopifyPlatform(
        http, _StoreCredentials(store), lambda: datetime.now(UTC), bulk_policy=BulkPolicy(min_products=1)
    )
    items = 0
    request = FetchRequest(shop=SHOP)
    async with aclosing(platform.fetch(request, on_wait=lambda _: None)) as events:
        async for event in events:
            if isinstance(event, Batch):
                items += sum(len(product.variants) for product in event.products)
    return items


async def _read_by_client(store: RunningStore, client: ShopifyPages) -> int:
    token = store.credentials(DOMAIN)["access_token"]
    return await client.variant_count(f"{store.base_url(DOMAIN)}/admin/api/2026-10/graphql.json", token)


async def _read(reader: str, store: RunningStore, http: OutboundHttp) -> int:
    """Read the shop, and return the number of variants that came."""
    match reader:
        case "paging":
            return await _read_by_pages(store, http, ProductPages)
        case "id listing and hydration":
            return await _read_by_pages(store, http, HydratedPages)
        case "bulk":
            return await _read_by_bulk(store, http)
        case "legacy query":
            return await _read_by_client(store, LegacyShopifyPages())
        case _:
            return await _read_by_client(store, SmallShopifyPages())


async def _measure(reader: str, products: int, latency_seconds: float) -> QueryCost:
    async with _running_shop(round(products * RELATIVE_SIZES[reader]), latency_seconds) as (store, http):
        meter = QueryCostMeter(store.shopify(DOMAIN).bucket, store.requests(DOMAIN))
        items = store.catalog(DOMAIN).item_count
        read = await _read(reader, store, http)
        cost = meter.result(items=items, read=read)
    if reader in OURS:
        _check(reader, cost)
    return cost


def _check(reader: str, cost: QueryCost) -> None:
    if cost.read != cost.items:
        raise BenchFailed(f"{reader}: {cost.read:,} of {cost.items:,} variants were read")
    if cost.throttled:
        raise BenchFailed(f"{reader}: {cost.throttled} calls were throttled")
    # A bucket that never runs dry is not what limits the reader.
    ran_dry = cost.given - cost.points < 1_000
    if reader in POINT_LIMITED and ran_dry and cost.used_share < MIN_USED_SHARE:
        raise BenchFailed(f"{reader}: {cost.used_share:.1%} of the points were used")


def _print_costs(costs: dict[str, QueryCost]) -> None:
    columns = ("", "points used", "calls /10k", "points /10k", "throttled", "read", "of", "seconds")
    rows: list[Sequence[str]] = []
    for reader, cost in costs.items():
        share = f"{cost.used_share:.1%}" if reader != "bulk" else "-"
        per_10k = (f"{cost.calls_per_10k:,.1f}", f"{cost.points_per_10k:,.0f}")
        counts = (f"{cost.throttled}", f"{cost.read:,}", f"{cost.items:,}", f"{cost.seconds:.1f}")
        rows.append((reader, share, *per_10k, *counts))
    print_table("Standard plan: 2,000 points, 100 restored per second; per 10,000 variants", columns, rows)


async def _measure_all(readers: Sequence[str], products: int, latency_seconds: float) -> dict[str, QueryCost]:
    return {reader: await _measure(reader, products, latency_seconds) for reader in readers}


def main() -> None:
    """Print a table of all readers and the RESULT line."""
    parser = argparse.ArgumentParser(prog="python -m bench.pacing", description=__doc__)
    parser.add_argument("--reader", action="append", choices=tuple(RELATIVE_SIZES), help="[default: all]")
    parser.add_argument("--products", type=int, default=4_000, help="of 6.5 variants each [default: 4000]")
    parser.add_argument("--latency-ms", type=float, default=200.0, help="per reply [default: 200]")
    args = parser.parse_args()
    readers = args.reader or tuple(RELATIVE_SIZES)
    costs = asyncio.run(_measure_all(readers, args.products, args.latency_ms / 1000))
    _print_costs(costs)
    print_result("pacing", {"ways": {reader: asdict(cost) for reader, cost in costs.items()}})


if __name__ == "__main__":
    main()
