"""Passes over the devstore, which executes our queries against Shopify's published schema."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from connector_svc.domain.fetch import Batch, End, FetchRequest, Header, Wait, WaitReason
from connector_svc.domain.product import Product, ProductStatus, Variant
from connector_svc.domain.shop import Shop
from connector_svc.http.client import open_http
from connector_svc.http.config import Endpoints, HttpConfig
from connector_svc.platforms.base import Credentials, Secret
from connector_svc.platforms.base import Platform as PlatformPort
from connector_svc.platforms.shopify import ShopifyPlatform
from devstore.catalog.catalog import Catalog
from devstore.catalog.model import Platform
from devstore.server import RunningStore, serving
from devstore.spec import ShopSpec, VariantRange
from tests import tls

DOMAIN = "demo.myshopify.com"
SHOP = Shop("shopify", DOMAIN)


@dataclass
class DevstoreCredentials:
    """Provides the devstore's credentials."""

    values: dict[str, str]

    async def credentials(self, shop: Shop, *, refused: Credentials | None = None) -> Credentials:
        return {name: Secret(value) for name, value in self.values.items()}


@dataclass
class Pass:
    """The events that one fetch yielded."""

    header: Header
    batches: list[Batch]
    end: End
    waits: list[Wait] = field(default_factory=list)

    @property
    def products(self) -> list[Product]:
        return [product for batch in self.batches for product in batch.products]


async def fetch(
    platform: ShopifyPlatform, *, checkpoint: bytes = b"", batch: int = 250, after: datetime | None = None
) -> Pass:
    waits: list[Wait] = []
    request = FetchRequest(shop=SHOP, checkpoint=checkpoint, max_batch_products=batch, updated_after=after)
    async with aclosing(platform.fetch(request, on_wait=waits.append)) as stream:
        events = [event async for event in stream]
    header, *batches, end = events
    assert isinstance(header, Header)
    assert isinstance(end, End)
    return Pass(header, [one for one in batches if isinstance(one, Batch)], end, waits)


@asynccontextmanager
async def devstore(
    products: int,
    *,
    variants: VariantRange | None = None,
    edge_cases: bool = True,
    throttle: bool = False,
) -> AsyncIterator[tuple[RunningStore, ShopifyPlatform]]:
    spec = ShopSpec(
        platform=Platform.SHOPIFY,
        domain=DOMAIN,
        products=products,
        variants=variants,
        edge_cases=edge_cases,
        currency="EUR",
    )
    async with serving([spec], tls_dir=None, throttle=throttle) as store:
        config = HttpConfig(tls=tls.client_context(), endpoints=Endpoints.of({DOMAIN: store.base_url(DOMAIN)}))
        async with open_http(config) as http:
            keys = DevstoreCredentials(store.credentials(DOMAIN))
            delay = timedelta(milliseconds=10)
            yield store, ShopifyPlatform(http, keys, lambda: datetime.now(UTC), retry_delay=delay)


def assert_equals_catalog(products: list[Product], catalog: Catalog) -> None:
    expected_items = {item.item_id: item for item in catalog.sellable_items()}
    found = {variant.id: (product, variant) for product in products for variant in product.variants}
    assert found.keys() == expected_items.keys()
    for item_id, item in expected_items.items():
        product, variant = found[item_id]
        assert (product.id, product.title, product.status.value) == (
            item.product_id,
            item.product_title,
            item.status,
        )
        assert (variant.sku, variant.barcode, variant.stock_quantity) == (item.sku, item.barcode, item.stock)
        assert (str(variant.price), str(variant.compare_at_price)) == (str(item.price), str(item.compare_at))


def special_product(products: list[Product], catalog: Catalog, name: str) -> Product:
    product_id = str(catalog.edge_case(name).id)
    return next(product for product in products if product.id == product_id)


def only_variant(products: list[Product], catalog: Catalog, name: str) -> Variant:
    return special_product(products, catalog, name).variants[0]


async def test_a_full_pass_with_difficult_products_equals_the_stores_catalog() -> None:
    async with devstore(60) as (store, platform):
        catalog = store.catalog(DOMAIN)
        found = await fetch(platform)
        expected_items = list(catalog.sellable_items())
    assert_equals_catalog(found.products, catalog)
    assert all(product.variants_complete for product in found.products)
    assert len(special_product(found.products, catalog, "variants-600").variants) == 600
    assert len(special_product(found.products, catalog, "variants-250").variants) == 250
    assert [issue for batch in found.batches for issue in batch.issues] == []
    assert (found.end.source_count, found.end.emitted_count, found.end.rejected_count) == (60, 60, 0)
    assert found.end.emitted_variant_count == len(expected_items) == found.header.estimated_variant_count
    assert found.end.warnings == ()
    assert found.header.shop_info.currency_code == "EUR"
    assert found.header.shop_info.served_api_version == "2026-10"


async def test_details_that_other_connectors_lose_are_delivered_unchanged() -> None:
    async with devstore(40) as (store, platform):
        catalog = store.catalog(DOMAIN)
        products = (await fetch(platform)).products
    assert only_variant(products, catalog, "leading-zero-sku").sku == "000123"
    assert str(only_variant(products, catalog, "trailing-zeros").price) == "20.00"
    assert str(only_variant(products, catalog, "fractional-weight").weight) == "0.5"
    assert only_variant(products, catalog, "fractional-weight").weight_unit == "kg"
    assert only_variant(products, catalog, "untracked").stock_quantity is None
    assert only_variant(products, catalog, "negative-stock").stock_quantity == -3
    assert special_product(products, catalog, "unlisted").status is ProductStatus.UNLISTED
    assert special_product(products, catalog, "no-images").images == ()


async def test_images_of_products_and_variants_are_those_of_the_store() -> None:
    async with devstore(30) as (store, platform):
        catalog = store.catalog(DOMAIN)
        products = (await fetch(platform)).products
    own = {
        str(variant.id): str(variant.image_id) if variant.image_id else None
        for product in catalog.products()
        for variant in product.variants
    }
    listed = {str(product.id): [str(image.id) for image in product.images] for product in catalog.products()}
    assert {p.id: [image.id for image in p.images] for p in products} == listed
    assert {v.id: v.image.id if v.image else None for p in products for v in p.variants} == own
    assert any(own.values()), "the store has variants with their own image"


async def test_an_empty_shop_is_complete() -> None:
    async with devstore(0) as (_, platform):
        found = await fetch(platform)
    assert found.batches == []
    assert (found.end.source_count, found.end.emitted_count) == (0, 0)


async def test_exactly_one_full_page_is_complete() -> None:
    async with devstore(250, variants=VariantRange(least=1, most=1), edge_cases=False) as (store, platform):
        found = await fetch(platform)
        assert store.requests(DOMAIN).by_operation["ProductPage"] == 1
    assert (len(found.products), found.end.source_count) == (250, 250)


async def test_a_pass_resumed_from_any_checkpoint_delivers_the_same_rest_and_end() -> None:
    async with devstore(40, edge_cases=False) as (_, platform):
        whole = await fetch(platform, batch=7)
        for index, batch in enumerate(whole.batches):
            rest = await fetch(platform, batch=7, checkpoint=batch.checkpoint)
            expected = [product for later in whole.batches[index + 1 :] for product in later.products]
            assert rest.products == expected
            assert rest.end == whole.end


async def test_an_incremental_pass_delivers_what_changed_and_nothing_else() -> None:
    async with devstore(30, edge_cases=False) as (store, platform):
        catalog = store.catalog(DOMAIN)
        before = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=1)
        changed = [product.id for product in catalog.products()][4:9:2]
        for product_id in changed:
            catalog.update_product(product_id, title="Changed")
        found = await fetch(platform, after=before)
    assert [product.id for product in found.products] == [str(number) for number in changed]
    assert (found.end.source_count, found.end.emitted_count) == (3, 3)


async def test_an_incremental_pass_resumes_within_its_window() -> None:
    async with devstore(30, edge_cases=False) as (store, platform):
        catalog = store.catalog(DOMAIN)
        after = datetime.now(UTC) - timedelta(minutes=1)
        for product in list(catalog.products())[3:20]:
            catalog.update_product(product.id, title="Changed")
        whole = await fetch(platform, batch=5, after=after)
        rest = await fetch(platform, batch=5, after=after, checkpoint=whole.batches[1].checkpoint)
    assert rest.products == whole.products[10:]
    assert len(whole.products) == 17
    assert rest.end == whole.end


async def test_with_the_rate_limit_on_a_pass_waits_and_is_never_throttled() -> None:
    async with devstore(60, edge_cases=False, throttle=True) as (store, platform):
        waits: list[Wait] = []
        while not waits:
            found = await fetch(platform)
            waits += found.waits
            assert found.end.emitted_count == 60
        traffic = store.requests(DOMAIN)
    assert traffic.throttled == 0
    assert {wait.reason for wait in waits} == {WaitReason.THROTTLED}


async def test_a_check_returns_counts_scopes_and_version() -> None:
    async with devstore(20) as (store, platform):
        shop_info = await platform.check(SHOP)
        assert shop_info.variant_count == store.catalog(DOMAIN).variant_count
    assert shop_info.product_count == 20
    assert shop_info.granted_scopes == ("read_inventory", "read_products")
    assert (shop_info.served_api_version, shop_info.notes) == ("2026-10", ())


async def test_the_platform_implements_the_port_and_its_pattern_matches_only_shopify_domains() -> None:
    async with devstore(0) as (_, platform):
        port: PlatformPort = platform
        assert (port.name, port.display_name) == ("shopify", "Shopify")
        assert re.fullmatch(port.domain_pattern, DOMAIN)
        for wrong in ("myshopify.com", "a.b.myshopify.com", "-a.myshopify.com", "a.myshopify.com.evil.example"):
            assert not re.fullmatch(port.domain_pattern, wrong)
