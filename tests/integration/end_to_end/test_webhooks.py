"""A signed webhook makes a change visible: the real connector verifies it, and reads the devstore by id."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from catalogsync_common.channel import open_channel
from catalogsync_common.settings import ListenAddress
from catalogsync_common.status import read_failure_now
from pydantic import SecretStr

from catalog_svc import bootstrap
from catalog_svc.settings import CatalogSettings
from connector_svc.domain.shop import Shop
from tests.fakes.webhook_deliveries import Headers, bigcommerce_headers, shopify_headers, woocommerce_headers
from tests.integration.end_to_end.conftest import WEBHOOK_SECRET, EndToEnd, Opens
from tests.pgbouncer import is_pooled
from tests.waiting import until_found

PLATFORMS = ("shopify", "woocommerce-10.3", "bigcommerce")
Outcome = pb.IngestWebhookResponse.Outcome


class Sender:
    """Sends signed deliveries of one shop to a running catalog."""

    def __init__(self, shop: EndToEnd, stub: CatalogServiceStub) -> None:
        self.stub = stub
        self.key = Shop(shop.platform, shop.domain)
        self.ref = pb.ShopRef(platform=shop.platform, domain=shop.domain)

    def delivery(self, product_id: int, secret: str = WEBHOOK_SECRET) -> tuple[bytes, Headers]:
        """Return body and headers of a delivery that says that the product has changed."""
        if self.key.platform == "bigcommerce":
            producer = f"stores/{self.key.domain.partition('.')[0].removeprefix('store-')}"
            data = {"type": "product", "id": product_id}
            body = json.dumps(
                {"scope": "store/product/updated", "producer": producer, "data": data, "hash": "h"}
            ).encode()
            return body, bigcommerce_headers(secret, shop=self.key)
        # The price in the payload is a lie, which nothing may store.
        body = json.dumps({"id": product_id, "price": "0.01", "variants": [{"price": "0.01"}]}).encode()
        if self.key.platform == "shopify":
            return body, shopify_headers(body, secret, shop=self.key)
        return body, woocommerce_headers(body, secret, source=f"https://{self.key.domain}/")

    async def send(self, product_id: int, secret: str = WEBHOOK_SECRET) -> pb.IngestWebhookResponse:
        body, headers = self.delivery(product_id, secret)
        request = pb.IngestWebhookRequest(platform=self.key.platform, body=body)
        for name, value in headers:
            request.headers.add(name=name, value=value)
        return await self.stub.IngestWebhook(request)

    async def product(self, product_id: int) -> pb.Product | None:
        """Return the stored product; None: there never was one."""
        request = pb.GetProductRequest(shop=self.ref, product_id=str(product_id))
        try:
            return (await self.stub.GetProduct(request)).product
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
            return None


@asynccontextmanager
async def sending(shop: EndToEnd, database_url: str) -> AsyncIterator[Sender]:
    """Run a catalog over the database and the connector of this shop."""
    settings = CatalogSettings(
        database_url=SecretStr(database_url),
        database_pooled=is_pooled(database_url),
        listen_address=ListenAddress("127.0.0.1:0"),
        connector_address=shop.connector_address,
        settle_delay=timedelta(0),
        stop_grace=timedelta(0),
    )
    async with bootstrap.running(settings) as port, open_channel(f"127.0.0.1:{port}") as channel:
        yield Sender(shop, CatalogServiceStub(channel))


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_changed_new_and_deleted_products_are_visible_after_their_webhooks(
    opens: Opens, database_url: str, platform: str
) -> None:
    async with opens(platform, products=12, edge_cases=False) as shop:
        await shop.succeed()
        changed, gone = (row.id for row in list(shop.catalog.rows())[:2])
        async with sending(shop, database_url) as sender:
            shop.catalog.update_product(changed, title="Changed a moment ago")
            shop.catalog.delete_product(gone)
            created = shop.catalog.add_product(title="Created a moment ago").id
            for product_id in (changed, gone, created):
                response = await sender.send(product_id)
                assert (response.outcome, response.product_count) == (Outcome.OUTCOME_ACCEPTED, 1)

            async def all_visible() -> bool | None:
                products = [await sender.product(product_id) for product_id in (changed, gone, created)]
                first, second, third = products
                return (
                    first is not None
                    and first.title == "Changed a moment ago"
                    and second is not None
                    and second.HasField("delete_time")
                    and third is not None
                ) or None

            await until_found(all_visible)
        await shop.check_items()


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_a_delivery_that_the_shop_has_not_signed_is_refused_and_nothing_is_read(
    opens: Opens, database_url: str, platform: str
) -> None:
    async with opens(platform, products=3, edge_cases=False) as shop:
        await shop.succeed()
        calls = shop.calls
        async with sending(shop, database_url) as sender:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await sender.send(next(iter(shop.catalog.rows())).id, secret="the secret of another shop")
            assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
            assert read_failure_now(caught.value).reason == "WEBHOOK_SIGNATURE_INVALID"
        assert shop.calls == calls
        assert await shop.world.rows("SELECT 1 FROM product_refresh") == []


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_a_valid_delivery_of_one_shop_under_the_header_of_another_one_changes_nothing_there(
    opens: Opens, database_url: str, tmp_path: Path, platform: str
) -> None:
    """The other shop is connected, too, and its secret is known: it just is not the secret of this shop."""
    async with opens(platform, products=3, edge_cases=False) as shop:
        await shop.succeed()
        # Unlike in the catalog: whatever reads a product, changes a row.
        for row in list(shop.catalog.rows()):
            shop.catalog.update_product(row.id, title="Changed since")
        before, calls = await shop.tables(), shop.calls
        _connect_another_shop(tmp_path / "credentials.toml", shop)
        async with sending(shop, database_url) as sender:
            for row in shop.catalog.rows():
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await sender.send(row.id, secret="otherShopsSecret0123456789")
                assert read_failure_now(caught.value).reason == "WEBHOOK_SIGNATURE_INVALID"
        assert (await shop.tables(), shop.calls) == (before, calls)
        for table in ("product_refresh", "refresh_queue", "shop_webhooks"):
            assert await shop.world.rows(f"SELECT 1 FROM {table}") == []


def _connect_another_shop(credentials: Path, shop: EndToEnd) -> None:
    """Add a shop of the same platform with a webhook secret of its own to the credentials file."""
    domains = {"woocommerce": "other.example", "bigcommerce": "store-other99.mybigcommerce.com"}
    lines = [f'{name} = "{value}"' for name, value in shop.spec.credentials.items()]
    lines.append('webhook_secrets = ["otherShopsSecret0123456789"]')
    section = f'[{shop.platform}."{domains.get(shop.platform, "other.myshopify.com")}"]'
    credentials.write_text("\n".join([credentials.read_text(), section, *lines, ""]))


async def test_of_200_stock_events_of_one_product_the_last_one_is_stored_and_most_cost_no_read(
    opens: Opens, database_url: str
) -> None:
    """Within a second they cost at most 4 reads: `test_refresh_worker.py`. How long they take here is unknown."""
    async with opens("shopify", products=3, edge_cases=False) as shop:
        await shop.succeed()
        product = shop.catalog.product(next(iter(shop.catalog.rows())).id)
        assert product is not None
        variant, before = product.variants[0], shop.store.requests(shop.domain).by_operation.copy()

        async with sending(shop, database_url) as sender:

            async def sell(stock: int) -> None:
                shop.catalog.update_variant(variant.id, stock=stock)
                await sender.send(product.id)

            await asyncio.gather(*(sell(stock) for stock in range(1_200, 1_000, -1)))

            async def visible() -> bool | None:
                stored = await sender.product(product.id)
                return (stored is not None and stored.items[0].stock_quantity == 1_001) or None

            await until_found(visible)
        reads = shop.store.requests(shop.domain).by_operation - before
        print(f"RESULT 200 stock events of one product: {dict(reads)}")
        assert reads.total() < 100


async def test_the_platform_of_a_delivery_must_send_webhooks(opens: Opens, database_url: str) -> None:
    async with opens("shopify", products=1, edge_cases=False) as shop, sending(shop, database_url) as sender:
        for platform in ("feed", "unknown"):
            request = pb.IngestWebhookRequest(platform=platform, headers=[pb.WebhookHeader(name="X-Test")])
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await sender.stub.IngestWebhook(request)
            failure = read_failure_now(caught.value)
            assert failure.reason == "INVALID_REQUEST"
            assert [violation.field for violation in failure.violations] == ["platform"]
