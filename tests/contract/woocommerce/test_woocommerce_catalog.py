"""The recorded store of 60 unusual products is read as its admin shows it, by each variation route."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from connector_svc.domain.fetch import FetchRequest
from connector_svc.domain.product import Image, InventoryPolicy, ProductOption, ProductStatus, SelectedOption
from devstore.tls import TlsFiles
from tests.contract.woocommerce.expected import ITEM_IDS, ITEMS, PRODUCT_COUNT, REGULAR, WITHOUT_ITEMS, money
from tests.contract.woocommerce.read_pass import (
    SHOP,
    FakeCredentials,
    Pass,
    credentials,
    platform_at,
    product_ids,
    read_pass,
)
from tests.contract.woocommerce.recorded import rows
from tests.contract.woocommerce.replay import KEY, SECRET, ReplayStore, listening

ROUTES = {
    "official": ReplayStore(has_official=True),
    "analytics": ReplayStore(),
    "per-product": ReplayStore(has_analytics=False),
}


async def _read(store: ReplayStore, tls: TlsFiles, request: FetchRequest | None = None) -> Pass:
    async with (
        listening(store, tls) as url,
        platform_at(url, FakeCredentials([credentials(KEY, SECRET)]), ca=tls.ca) as platform,
    ):
        return await read_pass(platform, request)


@pytest.fixture(scope="module", params=ROUTES)
async def by_route(request: pytest.FixtureRequest, tls: TlsFiles) -> Pass:
    return await _read(ROUTES[request.param], tls)


@pytest.fixture(scope="module")
async def seen(tls: TlsFiles) -> Pass:
    return await _read(ReplayStore(), tls)


async def test_every_product_and_item_is_delivered_exactly_once(by_route: Pass) -> None:
    assert len(by_route.products) == PRODUCT_COUNT
    assert product_ids(by_route.products) == sorted(product_ids(by_route.products), key=int)
    items = [variant.id for product in by_route.products for variant in product.variants]
    assert len(items) == len(set(items)) == 201
    assert set(items) == ITEM_IDS
    assert by_route.issues == []


async def test_the_end_counts_what_was_delivered(by_route: Pass) -> None:
    assert (by_route.end.source_count, by_route.end.emitted_count) == (PRODUCT_COUNT, PRODUCT_COUNT)
    assert (by_route.end.rejected_count, by_route.end.emitted_variant_count) == (0, 201)
    assert by_route.end.warnings == ()


async def test_items_show_price_stock_and_sku_as_the_admin_does(by_route: Pass) -> None:
    items = by_route.items()
    owners = {v.id: p.id for p in by_route.products for v in p.variants}
    for key, expected in ITEMS.items():
        item = items[str(key)]
        got = (owners[item.id], item.sku, str(item.price), str(item.compare_at_price), item.stock_quantity)
        assert got == (
            str(expected.product),
            expected.sku,
            str(money(expected.price)),
            str(money(expected.compare_at)),
            expected.stock,
        ), key
        assert item.available is expected.available, key


async def test_a_product_with_130_variations_is_complete(by_route: Pass) -> None:
    product = by_route.by_id()["74"]
    assert [variant.id for variant in product.variants] == [str(key) for key in REGULAR]
    assert [variant.position for variant in product.variants] == list(range(1, 131))
    assert len({variant.sku for variant in product.variants}) == 130
    assert product.variants_complete


async def test_a_variable_product_without_variations_is_a_product_without_items(seen: Pass) -> None:
    for key in WITHOUT_ITEMS:
        product = seen.by_id()[str(key)]
        assert product.variants == ()
        assert product.variants_complete


async def test_stale_variations_of_a_product_that_is_simple_now_are_not_delivered(seen: Pass) -> None:
    assert not {"231", "232", "234"} & seen.items().keys()
    (only,) = seen.by_id()["230"].variants
    assert only.id == "230"


async def test_html_entities_in_titles_are_decoded(seen: Pass) -> None:
    titles = {key: product.title for key, product in seen.by_id().items()}
    assert titles["34"] == 'Sal & Pimienta "Gourmet" \N{EN DASH} 200\N{NO-BREAK SPACE}g <bio>'
    assert titles["35"] == "Tom & Jerry <b>negrita</b> \"comillas\" 'simples'"
    assert titles["36"] == "Taza 🎁☕️ 👩\u200d👩\u200d👧 edición 💯"
    assert (titles["39"], titles["41"]) == ("", "0")


async def test_statuses_are_distinguished(seen: Pass) -> None:
    statuses = {int(key): product.status for key, product in seen.by_id().items()}
    assert statuses[16] is ProductStatus.ACTIVE
    assert {statuses[key] for key in (47, 49, 50, 215)} == {ProductStatus.DRAFT}
    assert {statuses[key] for key in (48, 218)} == {ProductStatus.PRIVATE}


async def test_inventory_policies_follow_the_backorder_setting(seen: Pass) -> None:
    policies = {key: item.inventory_policy for key, item in seen.items().items()}
    assert policies["16"] is InventoryPolicy.DENY
    assert {policies["27"], policies["28"]} == {InventoryPolicy.CONTINUE}


async def test_options_are_the_attributes_in_which_variations_differ(seen: Pass) -> None:
    assert seen.by_id()["66"].options == (ProductOption(name="Color", values=("Rojo", "Verde", "Azul")),)
    items = seen.items()
    assert items["75"].title == "36 / Negro"
    assert items["209"].options == (SelectedOption(name="Talla & Ancho", value="S / A"),)
    assert items["226"].options == (SelectedOption(name="Tejido", value="Lana Merina"),)
    assert items["16"].options == ()


async def test_images_are_those_of_the_product_and_a_variations_own(seen: Pass) -> None:
    products, items = seen.by_id(), seen.items()
    assert [len(products[key].images) for key in ("16", "30", "31", "32", "33")] == [1, 0, 5, 0, 1]
    assert products["16"].images[0].alt_text == "alt red"
    own = items["67"].image
    assert isinstance(own, Image)
    assert own.url.endswith("small-red.jpg")
    # The time of the last change of the entry in the media library.
    assert products["16"].images[0].version == "2026-11-20T14:42:02"
    assert own.version == "2026-11-20T14:42:02"
    # The store fills in the parent's image where a variation has none.
    assert items["69"].image is None


async def test_weights_carry_the_stores_unit(seen: Pass) -> None:
    item = seen.items()["63"]
    assert (item.weight, item.weight_unit) == (Decimal("1.25"), "kg")
    assert seen.items()["16"].weight_unit == ""


async def test_times_are_utc_and_may_be_missing(seen: Pass) -> None:
    products = seen.by_id()
    assert products["16"].created_at == datetime(2026, 1, 10, 9, 0, tzinfo=UTC)
    assert products["16"].updated_at == datetime(2026, 1, 10, 12, 0, tzinfo=UTC)
    assert products["49"].created_at is None


async def test_the_header_has_name_currency_and_estimates(seen: Pass) -> None:
    (header,) = seen.headers
    assert (header.shop_info.currency_code, header.shop_info.display_name) == ("EUR", "Woo Lab small")
    assert header.estimated_product_count == PRODUCT_COUNT
    # 153 of live products, and three stale ones.
    assert header.estimated_variant_count == 60 - 12 + 156
    assert not header.resumed


async def test_bulk_routes_request_100_variations_at_a_time(tls: TlsFiles) -> None:
    store = ReplayStore()
    await _read(store, tls)
    lists = [
        params for _method, path, params in store.requests if path.endswith("/variations") and "page" in params
    ]
    assert len(lists) == 2
    assert {params["per_page"] for params in lists} == {"100"}


@pytest.mark.parametrize(
    ("since", "count"),
    [
        (datetime(2026, 4, 1, 0, 0, 1, tzinfo=UTC), 30),
        (datetime(2026, 1, 10, 12, 0, tzinfo=UTC), 60),
        (datetime(2026, 1, 10, 12, 0, 1, tzinfo=UTC), 59),
    ],
)
async def test_an_incremental_pass_delivers_everything_changed_at_the_bound_or_later(
    tls: TlsFiles, since: datetime, count: int
) -> None:
    store = ReplayStore()
    seen = await _read(store, tls, FetchRequest(shop=SHOP, updated_after=since))
    assert len(seen.products) == seen.end.source_count == count
    requests = [params for _method, path, params in store.requests if "modified_after" in params]
    assert {params["dates_are_gmt"] for params in requests} == {"true"}
    assert not any("Z" in params["modified_after"] or "+" in params["modified_after"] for params in requests)


async def test_an_incremental_pass_delivers_what_the_recorded_store_lists(tls: TlsFiles) -> None:
    since = datetime(2026, 4, 1, 0, 0, 1, tzinfo=UTC)
    seen = await _read(ReplayStore(), tls, FetchRequest(shop=SHOP, updated_after=since))
    assert product_ids(seen.products) == [str(row["id"]) for row in rows("products-modified-after-gmt")]


async def test_the_currency_is_read_from_the_settings_where_the_currency_endpoint_is_missing(
    tls: TlsFiles,
) -> None:
    seen = await _read(ReplayStore(has_currencies=False), tls)
    assert seen.headers[0].shop_info.currency_code == "EUR"


async def test_php_notices_only_add_a_note(tls: TlsFiles) -> None:
    notice = b"<br />\n<b>Warning</b>: Undefined array key 0 in /wp-content/plugins/x.php on line 7<br />\n"
    seen = await _read(ReplayStore(noise=notice), tls)
    assert seen.items().keys() == ITEM_IDS
    assert any("PHP" in note for note in seen.headers[0].shop_info.notes)
    assert seen.end.warnings == ()


async def test_every_checkpoint_resumes_to_the_same_catalog(tls: TlsFiles) -> None:
    request = FetchRequest(shop=SHOP, max_batch_products=7)
    whole = await _read(ReplayStore(), tls, request)
    assert len(whole.batches) == 9
    for number, batch in enumerate(whole.batches, 1):
        rest = await _read(
            ReplayStore(), tls, FetchRequest(shop=SHOP, max_batch_products=7, checkpoint=batch.checkpoint)
        )
        before = [product for earlier in whole.batches[:number] for product in earlier.products]
        assert [*before, *rest.products] == whole.products
        assert rest.headers[0].resumed
        assert rest.headers[0].watermark == whole.headers[0].watermark
        assert rest.end == whole.end
