"""`make bench-freshness`: how soon is a changed price visible in GetItem, by webhooks and beside a full sync?

Ten shops of the devstore send signed webhooks to a receiver, which passes them on to IngestWebhook. Prices of
random products change, twenty a second in all; of each change the time is measured until GetItem returns the new
price. A large shop is synced all the time meanwhile, from a store process of its own that answers from a cache.
The ten shops and the receiver run in the process that measures, and do little else: what they need for themselves
would count as latency.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any, Final

import aiohttp
import grpc
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from catalogsync_client import ShopName

from bench.common.cluster import Cluster, running_cluster
from bench.common.load import background_load, first_loads
from bench.common.measure import BenchFailed, percentile
from bench.common.report import Target, print_result, print_table, print_targets
from bench.common.stack import temporary_directory
from bench.common.store import ServedShop, running_store, shop_spec
from bench.freshness.receiver import Receiver, receiving
from devstore.catalog.model import Platform
from devstore.server import RunningStore, serving
from devstore.spec import ShopSpec

CHANGES_PER_SECOND: Final = 20
MAX_P50_MS: Final = 700
MAX_P99_MS: Final = 2_000
MAX_INGEST_P99_MS: Final = 200
_POLL_SECONDS: Final = 0.05
"""A change is found so much too late at most. Shorter pauses made more load than the webhooks themselves."""
_TIMEOUT_SECONDS: Final = 60
_SUBSCRIBE: Final = """
mutation Subscribe($url: String!) {
  webhookSubscriptionCreate(topic: PRODUCTS_UPDATE, webhookSubscription: {uri: $url}) { userErrors { message } }
}"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """What is stored, and how long it changes."""

    shops: int
    products: int
    """Of each shop that changes."""
    large_items: int
    """Of the shop that is synced all the time."""
    seconds: int


FULL: Final = Size(shops=10, products=100, large_items=20_000, seconds=60)
SMOKE: Final = Size(shops=4, products=20, large_items=2_000, seconds=5)


@dataclass(kw_only=True, slots=True)
class Found:
    """What was measured, in milliseconds."""

    visible_ms: list[float] = field(default_factory=list)
    ingest_ms: list[float] = field(default_factory=list)
    refused: int = 0
    syncs: int = 0


class _Changes:
    """Changes prices of Shopify's variants, each to one that no variant had before."""

    def __init__(self, store: RunningStore, domains: Sequence[str], stub: CatalogServiceStub) -> None:
        self._store = store
        self._domains = domains
        self._stub = stub
        self._random = random.Random(7)
        self._cents = count(100_000)
        self._changing: set[tuple[str, int]] = set()
        self.milliseconds: list[float] = []

    async def change(self) -> None:
        """Change a price, and wait until it is visible."""
        domain = self._random.choice(self._domains)
        catalog = self._store.catalog(domain)
        rows = [row for row in catalog.rows() if (domain, row.id) not in self._changing]
        product = catalog.product(self._random.choice(rows).id)
        assert product is not None
        self._changing.add((domain, product.id))
        variant, price = self._random.choice(product.variants), Decimal(next(self._cents)) / 100
        begin = time.perf_counter()
        catalog.update_variant(variant.id, price=f"{price:.2f}")
        request = pb.GetItemRequest(shop=pb.ShopRef(platform="shopify", domain=domain), item_id=str(variant.id))
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            while await self._price(request) != price:  # noqa: ASYNC110
                await asyncio.sleep(_POLL_SECONDS)
        self.milliseconds.append((time.perf_counter() - begin) * 1_000)
        self._changing.discard((domain, product.id))

    async def _price(self, request: pb.GetItemRequest) -> Decimal:
        return Decimal((await self._stub.GetItem(request)).item.price.amount or 0)


def _specs(size: Size) -> list[ShopSpec]:
    return [
        ShopSpec(
            platform=Platform.SHOPIFY,
            domain=f"fresh-{number}.myshopify.com",
            products=size.products,
            edge_cases=False,
        )
        for number in range(size.shops)
    ]


def _served(store: RunningStore, spec: ShopSpec) -> ServedShop:
    credentials: dict[str, Any] = {**store.credentials(spec.domain), "webhook_secrets": [_secret(spec.domain)]}
    catalog = store.catalog(spec.domain)
    return ServedShop(
        name=ShopName(spec.platform.value, spec.domain),
        base_url=store.base_url(spec.domain),
        credentials=credentials,
        products=len(catalog),
        items=catalog.variant_count,
    )


def _secret(domain: str) -> str:
    """Return the secret with which the devstore signs."""
    return f"shpss_devstore_{domain}"


async def _subscribe(store: RunningStore, spec: ShopSpec, receiver: Receiver) -> None:
    headers = {"X-Shopify-Access-Token": store.credentials(spec.domain)["access_token"]}
    url = f"{store.base_url(spec.domain)}/admin/api/2026-10/graphql.json"
    query = {"query": _SUBSCRIBE, "variables": {"url": f"{receiver.url}/shopify"}}
    async with (
        aiohttp.ClientSession(raise_for_status=True) as session,
        session.post(url, json=query, headers=headers, ssl=False) as reply,
    ):
        body = await reply.json()
    if body.get("errors") or body["data"]["webhookSubscriptionCreate"]["userErrors"]:
        raise BenchFailed(f"the devstore did not create a subscription: {body}")


async def _measure(
    cluster: Cluster,
    store: RunningStore,
    large: ServedShop,
    size: Size,
    stub: CatalogServiceStub,
    receiver: Receiver,
) -> Found:
    changing = _specs(size)
    client = cluster.replicas[0].client
    await first_loads(client, [_served(store, spec) for spec in changing])
    for spec in changing:
        await _subscribe(store, spec, receiver)
    changes = _Changes(store, [spec.domain for spec in changing], stub)
    async with background_load(client, large) as load, asyncio.TaskGroup() as group:
        for _ in range(size.seconds * CHANGES_PER_SECOND):
            group.create_task(changes.change())
            await asyncio.sleep(1 / CHANGES_PER_SECOND)
    return Found(
        visible_ms=changes.milliseconds,
        ingest_ms=[seconds * 1_000 for seconds in receiver.seconds],
        refused=sum(status != 200 for status in receiver.answered),
        syncs=load.ended_syncs,
    )


@asynccontextmanager
async def _stub(address: str) -> AsyncIterator[CatalogServiceStub]:
    async with grpc.aio.insecure_channel(address) as channel:
        yield CatalogServiceStub(channel)


async def _run(directory: Path, size: Size) -> Found:
    specs, tls = _specs(size), directory / "tls"
    async with (
        serving(specs, tls_dir=tls, throttle=False) as store,
        running_store(directory / "large", [shop_spec("shopify", size.large_items)], tls=tls) as large_store,
    ):
        shops = [*(_served(store, spec) for spec in specs), large_store.shop]
        async with (
            running_cluster(directory / "services", shops, ca_file=str(store.ca_file)) as cluster,
            _stub(cluster.replicas[0].address) as stub,
            receiving(stub) as receiver,
        ):
            return await cluster.processes.supervise(
                _measure(cluster, store, large_store.shop, size, stub, receiver)
            )


def _targets(found: Found) -> list[Target]:
    return [
        Target(
            name="price changed to visible in GetItem, p50",
            value=round(percentile(found.visible_ms, 50)),
            unit="ms",
            wanted=MAX_P50_MS,
            at="most",
        ),
        Target(
            name="price changed to visible in GetItem, p99",
            value=round(percentile(found.visible_ms, 99)),
            unit="ms",
            wanted=MAX_P99_MS,
            at="most",
        ),
        Target(
            name="IngestWebhook answered, p99",
            value=round(percentile(found.ingest_ms, 99)),
            unit="ms",
            wanted=MAX_INGEST_P99_MS,
            at="most",
        ),
    ]


def main() -> None:
    """Print the latencies, the targets and the RESULT line."""
    parser = argparse.ArgumentParser(prog="python -m bench.freshness", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="4 shops, for 5 seconds")
    size = SMOKE if parser.parse_args().smoke else FULL
    with temporary_directory("freshness") as directory:
        found = asyncio.run(_run(directory, size))
    rows = [
        (name, *(f"{percentile(values, percent):,.0f}" for percent in (50, 99, 100)), f"{len(values):,}")
        for name, values in (("visible in GetItem", found.visible_ms), ("IngestWebhook", found.ingest_ms))
    ]
    print_table("Freshness by webhooks", ("", "p50 ms", "p99 ms", "max ms", "count"), rows)
    targets = _targets(found)
    print_targets(targets)
    print_result(
        "freshness",
        {
            "targets": [target.to_json() for target in targets],
            "shops": size.shops,
            "changes": len(found.visible_ms),
            "deliveries": len(found.ingest_ms),
            "deliveries_refused": found.refused,
            "full_syncs_beside": found.syncs,
        },
    )


if __name__ == "__main__":
    main()
