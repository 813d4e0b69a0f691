"""A replica that dies in the middle of a sync is replaced by another one, and nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub

from demo.children import Family
from demo.stack import first_line, serving
from servicekit.channel import open_channel
from tests.conftest import open_directory
from tests.e2e.conftest import CATALOG, CONNECTOR, ROOT, free_port

SHOP = "shopify:demo.myshopify.com"


async def test_another_replica_goes_on_after_a_kill() -> None:
    with open_directory("takeover") as place:
        (place / "logs").mkdir()
        async with Family(directory=ROOT, logs=place / "logs") as family:
            told = place / "devstore.json"
            await family.start(
                "devstore", "-m", "devstore", "--listen", "127.0.0.1:0", "--tls-dir", str(place / "tls"),
                "--no-throttle", "--latency-ms", "400", "--shop", f"{SHOP}:products=1500,specials=off",
                answers=told,
            )  # fmt: skip
            async with asyncio.timeout(60):
                store = json.loads(await first_line(told))
            shop = store["shops"][SHOP]
            (place / "credentials.toml").write_text(
                f'[shopify."demo.myshopify.com"]\naccess_token = "{shop["credentials"]["access_token"]}"\n'
            )
            connector, first, second = (f"127.0.0.1:{free_port()}" for _ in range(3))
            settings = {
                "CONNECTOR_LISTEN_ADDRESS": connector,
                "CONNECTOR_CREDENTIALS_FILE": str(place / "credentials.toml"),
                "CONNECTOR_CA_FILE": store["ca_file"],
                "CONNECTOR_ENDPOINT_OVERRIDES": json.dumps({"demo.myshopify.com": shop["base_url"]}),
            }
            await family.start("connector_svc", "-m", "connector_svc", settings=settings)
            for name, address in (("first", first), ("second", second)):
                settings = {
                    "CATALOG_LISTEN_ADDRESS": address,
                    "CATALOG_CONNECTOR_ADDRESS": connector,
                    "CATALOG_DATA_DIR": str(place / "postgres"),
                    "CATALOG_LEASE_TTL": "2s",
                }
                await family.start(name, "-m", "catalog_svc", settings=settings)
                async with asyncio.timeout(60):
                    await serving(address, CATALOG)
            async with asyncio.timeout(60):
                await serving(connector, CONNECTOR)
            async with open_channel(first) as to_first, open_channel(second) as to_second:
                await _kill_and_check(
                    CatalogServiceStub(to_first), CatalogServiceStub(to_second), family, items=shop["items"]
                )


async def _kill_and_check(
    first: CatalogServiceStub, second: CatalogServiceStub, family: Family, *, items: int
) -> None:
    shop = pb.Shop(platform="shopify", domain="demo.myshopify.com")
    # Only the first replica is awake: whoever takes the order looks for work at once.
    sync = (await first.StartSync(pb.StartSyncRequest(shop=shop, mode=pb.Sync.MODE_FULL))).sync
    last = sync
    killed = False
    async with asyncio.timeout(60):
        async for message in second.WatchSync(pb.WatchSyncRequest(sync_id=sync.sync_id)):
            assert message.sync.revision >= last.revision
            last = message.sync
            if last.progress.items.seen_count and not killed:
                killed = True
                family.kill_one("first")
    assert killed
    assert last.state == pb.Sync.STATE_SUCCEEDED, last.error.message
    assert last.attempt_count == 2
    assert last.progress.items.seen_count == last.progress.items.created_count == items
    found: Counter[str] = Counter()
    token = ""
    while True:
        page = await second.ListItems(pb.ListItemsRequest(shop=shop, page_size=1000, page_token=token))
        found.update(item.item_id for item in page.items)
        token = page.next_page_token
        if not token:
            break
    assert (len(found), max(found.values())) == (items, 1)
