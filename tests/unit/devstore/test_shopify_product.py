"""Products of the Shopify API: their fields, and all of them together equal the oracle."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tests.unit.devstore.conftest import Client

DOMAIN = "demo.myshopify.com"
PRODUCT = """query($id: ID!){product(id: $id){
    id title handle descriptionHtml vendor productType tags status createdAt updatedAt hasOnlyDefaultVariant
    category{id} seo{title} totalInventory
    options{id name position values optionValues{id name}}
    featuredMedia{__typename preview{image{url}}}
    media(first: 10, query: "media_type:IMAGE", sortKey: POSITION){nodes{
        id mediaContentType status ... on MediaImage{image{url altText width height}}}}
    variants(first: 5){nodes{
        id title sku barcode price compareAtPrice inventoryQuantity inventoryPolicy position
        selectedOptions{name value} media(first: 1){nodes{id}}
        inventoryItem{id tracked sku measurement{weight{value unit}}}}}}}"""


async def edge_case(client: Client, name: str) -> dict[str, Any]:
    product = client.catalog(DOMAIN).edge_case(name)
    shown: dict[str, Any] = (await client.data(PRODUCT, id=f"gid://shopify/Product/{product.id}"))["product"]
    return shown


async def only_variant(client: Client, name: str) -> dict[str, Any]:
    (variant,) = (await edge_case(client, name))["variants"]["nodes"]
    assert isinstance(variant, dict)
    return variant


async def test_money_is_text_with_trailing_zeros(client: Client) -> None:
    variant = await only_variant(client, "trailing-zeros")
    assert (variant["price"], variant["compareAtPrice"]) == ("20.00", None)
    reduced = (await edge_case(client, "compare-at"))["variants"]["nodes"][0]
    assert (reduced["price"], reduced["compareAtPrice"]) == ("19.90", "29.90")


async def test_skus_keep_their_leading_zeros(client: Client) -> None:
    assert (await only_variant(client, "leading-zero-sku"))["sku"] == "000123"


async def test_missing_texts_are_null(client: Client) -> None:
    variant = await only_variant(client, "bare")
    assert (variant["sku"], variant["barcode"], variant["price"]) == (None, None, "0.00")


async def test_stock_may_be_negative_and_may_be_untracked(client: Client) -> None:
    oversold = await only_variant(client, "negative-stock")
    untracked = await only_variant(client, "untracked")
    assert (oversold["inventoryQuantity"], oversold["inventoryPolicy"]) == (-3, "CONTINUE")
    assert untracked["inventoryItem"]["tracked"] is False


async def test_weights_have_a_unit_and_fractions(client: Client) -> None:
    variant = await only_variant(client, "fractional-weight")
    assert variant["inventoryItem"]["measurement"]["weight"] == {"value": 0.5, "unit": "KILOGRAMS"}


async def test_a_product_without_options_has_the_default_variant(client: Client) -> None:
    shown = await edge_case(client, "trailing-zeros")
    assert shown["hasOnlyDefaultVariant"] is True
    assert [option["name"] for option in shown["options"]] == ["Title"]
    chosen = [{"name": "Title", "value": "Default Title"}]
    assert shown["variants"]["nodes"][0]["selectedOptions"] == chosen


async def test_options_list_the_values_of_their_variants(client: Client) -> None:
    shown = await edge_case(client, "variants-600")
    assert [option["name"] for option in shown["options"]] == ["Size", "Color", "Material"]
    for variant in shown["variants"]["nodes"]:
        for option, chosen in zip(shown["options"], variant["selectedOptions"], strict=True):
            assert chosen["name"] == option["name"]
            assert chosen["value"] in [value["name"] for value in option["optionValues"]]


async def test_statuses_are_the_four_of_the_platform(client: Client) -> None:
    shown = [(await edge_case(client, name))["status"] for name in ("unlisted", "archived", "draft", "compare-at")]
    assert shown == ["UNLISTED", "ARCHIVED", "DRAFT", "ACTIVE"]


async def test_image_urls_are_absolute_and_serve_real_images(client: Client) -> None:
    shown = await edge_case(client, "variants-250")
    url = shown["media"]["nodes"][0]["image"]["url"]
    assert url.startswith(client.store.base_url(DOMAIN) + "/images/")
    assert shown["featuredMedia"]["preview"]["image"]["url"] == url
    reply = await client.send("GET", url)
    assert (reply.status, reply.headers["Content-Type"]) == (200, "image/png")
    assert reply.raw.startswith(b"\x89PNG\r\n\x1a\n")


async def test_a_product_without_images_has_none(client: Client) -> None:
    shown = await edge_case(client, "no-images")
    assert (shown["featuredMedia"], shown["media"]["nodes"]) == (None, [])


async def test_an_unknown_image_is_not_found(client: Client) -> None:
    reply = await client.send("GET", client.store.base_url(DOMAIN) + "/images/1.png")
    assert reply.status == 404


async def test_a_product_is_found_by_id_and_by_handle(client: Client) -> None:
    product = client.catalog(DOMAIN).edge_case("draft")
    query = "query($i: ProductIdentifierInput!){productByIdentifier(identifier: $i){title}}"
    for identifier in ({"handle": product.handle}, {"id": f"gid://shopify/Product/{product.id}"}):
        assert (await client.data(query, i=identifier))["productByIdentifier"] == {"title": product.title}


async def test_the_shop_has_currency_zone_and_scopes(client: Client) -> None:
    query = """{shop{id name myshopifyDomain currencyCode ianaTimezone plan{publicDisplayName shopifyPlus}
        resourceLimits{maxProductVariants}} currentAppInstallation{accessScopes{handle}}
        publicApiVersions{handle supported} events(first: 5){nodes{id}}}"""
    data = await client.data(query)
    assert (data["shop"]["currencyCode"], data["shop"]["myshopifyDomain"]) == ("USD", DOMAIN)
    scopes = [scope["handle"] for scope in data["currentAppInstallation"]["accessScopes"]]
    assert scopes == ["read_products", "read_inventory"]
    assert {"handle": "2026-10", "supported": True} in data["publicApiVersions"]


PRODUCTS_WITH_VARIANTS = """query($after: String){products(first: 20, after: $after){
    pageInfo{hasNextPage endCursor}
    nodes{id status variants(first: 250){pageInfo{hasNextPage} nodes{
        id title sku price inventoryQuantity inventoryItem{tracked}}}}}}"""
ALL_VARIANTS = """query($id: ID!){product(id: $id){variants(first: 2048){nodes{
    id title sku price inventoryQuantity inventoryItem{tracked}}}}}"""


async def test_the_pages_together_equal_the_oracle(client: Client) -> None:
    shown: set[tuple[object, ...]] = set()
    after = None
    while True:
        page = (await client.data(PRODUCTS_WITH_VARIANTS, after=after))["products"]
        for product in page["nodes"]:
            variants = product["variants"]
            if variants["pageInfo"]["hasNextPage"]:
                variants = (await client.data(ALL_VARIANTS, id=product["id"]))["product"]["variants"]
            for variant in variants["nodes"]:
                tracked = variant["inventoryItem"]["tracked"]
                stock = variant["inventoryQuantity"] if tracked else None
                price = Decimal(variant["price"])
                shown.add((variant["id"], product["status"], variant["title"], variant["sku"] or "", price, stock))
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    items = client.catalog("demo.myshopify.com").sellable_items()
    assert shown == {(i.item_gid, i.status, i.title, i.sku, i.price, i.stock) for i in items}
