"""The devstore sends Shopify's and BigCommerce's webhooks as these platforms document them."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.unit.devstore.webhook_shop import BIGCOMMERCE, SHOPIFY, WebhookShop, webhook_shop

SUBSCRIPTIONS = """
query Subscriptions($first: Int!, $topics: [WebhookSubscriptionTopic!]) {
  webhookSubscriptions(first: $first, topics: $topics) { nodes { id topic uri } pageInfo { hasNextPage } }
}
"""
UPDATE = """
mutation Update($id: ID!, $input: WebhookSubscriptionInput!) {
  webhookSubscriptionUpdate(id: $id, webhookSubscription: $input) {
    webhookSubscription { uri } userErrors { field message }
  }
}
"""
DELETE = """
mutation Delete($id: ID!) {
  webhookSubscriptionDelete(id: $id) { deletedWebhookSubscriptionId userErrors { field message } }
}
"""


@pytest.fixture
async def shopify(tls_dir: Path) -> AsyncIterator[WebhookShop]:
    async with webhook_shop(SHOPIFY, tls_dir) as running:
        yield running


@pytest.fixture
async def bigcommerce(tls_dir: Path) -> AsyncIterator[WebhookShop]:
    async with webhook_shop(BIGCOMMERCE, tls_dir) as running:
        yield running


async def test_a_delivery_has_the_documented_headers_and_is_signed_with_the_client_secret(
    shopify: WebhookShop,
) -> None:
    await shopify.create_shopify("PRODUCTS_UPDATE")
    product_id = next(shopify.catalog.rows()).id
    shopify.catalog.update_product(product_id, title="A")
    shopify.catalog.update_product(product_id, title="B")
    first, second = await shopify.deliveries()
    expected = {
        "X-Shopify-Topic": "products/update",
        "X-Shopify-Shop-Domain": SHOPIFY.domain,
        "X-Shopify-API-Version": "2026-10",
        "X-Shopify-Product-Id": str(product_id),
        "Content-Type": "application/json",
        "User-Agent": "Shopify-Captain-Hook",
    }
    assert {name: first.header(name) for name in expected} == expected
    secret = shopify.store.shopify(SHOPIFY.domain).oauth.client_secret
    digest = hmac.new(secret.encode(), first.body, hashlib.sha256).digest()
    assert first.header("X-Shopify-Hmac-Sha256") == base64.b64encode(digest).decode()
    for name in ("X-Shopify-Webhook-Id", "X-Shopify-Event-Id"):
        assert first.header(name)
        assert first.header(name) != second.header(name)
    assert first.header("X-Shopify-Triggered-At").endswith("Z")


async def test_two_subscriptions_deliver_one_event_with_two_ids(shopify: WebhookShop) -> None:
    await shopify.create_shopify("PRODUCTS_CREATE")
    await shopify.create_shopify("PRODUCTS_CREATE", uri=f"{shopify.listener.url}/other")
    shopify.catalog.add_product()
    first, second = await shopify.deliveries()
    assert first.header("X-Shopify-Event-Id") == second.header("X-Shopify-Event-Id")
    assert first.header("X-Shopify-Webhook-Id") != second.header("X-Shopify-Webhook-Id")


async def test_changes_of_shopify_products_and_variants_fire_product_topics(shopify: WebhookShop) -> None:
    for topic in ("PRODUCTS_CREATE", "PRODUCTS_UPDATE", "PRODUCTS_DELETE", "ORDERS_CREATE"):
        assert not (await shopify.create_shopify(topic))["userErrors"]
    catalog = shopify.catalog
    product = next(iter(catalog.products()))
    variant = product.variants[0].id
    steps: list[tuple[Callable[[], object], list[tuple[str, int]]]] = [
        (lambda: catalog.update_product(product.id, title="A"), [("products/update", product.id)]),
        (lambda: catalog.update_variant(variant, stock=5), [("products/update", product.id)]),
        (lambda: catalog.add_variant(product.id), [("products/update", product.id)]),
        (lambda: catalog.update_variant(variant, touch=False, stock=6), []),
        (lambda: catalog.delete_product(product.id), [("products/delete", product.id)]),
    ]
    for act, expected in steps:
        shopify.listener.received.clear()
        act()
        found = [(one.header("X-Shopify-Topic"), one.json()["id"]) for one in await shopify.deliveries()]
        assert found == expected
    shopify.listener.received.clear()
    added = catalog.add_product()
    (created,) = await shopify.deliveries()
    assert (created.header("X-Shopify-Topic"), created.json()["id"]) == ("products/create", added.id)


async def test_a_payload_has_at_most_100_variants_or_only_the_included_fields(shopify: WebhookShop) -> None:
    await shopify.create_shopify("PRODUCTS_UPDATE")
    fields = ["id", "updated_at", "variants.id"]
    await shopify.create_shopify("PRODUCTS_UPDATE", uri=f"{shopify.listener.url}/small", includeFields=fields)
    product = shopify.catalog.edge_case("variants-600")
    shopify.catalog.update_product(product.id, title="A")
    by_path = {one.target: one.json() for one in await shopify.deliveries()}
    assert len(by_path["/hook"]["variants"]) == 100
    assert by_path["/small"].keys() == {"id", "updated_at", "variants"}
    assert by_path["/small"]["variants"][0] == {"id": product.variants[0].id}


async def test_subscriptions_are_created_listed_changed_and_deleted(shopify: WebhookShop) -> None:
    created = await shopify.create_shopify("PRODUCTS_UPDATE")
    number = created["webhookSubscription"]["id"]
    assert created["userErrors"] == []
    again = await shopify.create_shopify("PRODUCTS_UPDATE")
    assert again["userErrors"][0]["message"] == "Address for this topic has already been taken"
    assert (await shopify.create_shopify("PRODUCTS_UPDATE", uri="ftp://x"))["userErrors"]
    other = f"{shopify.listener.url}/other"
    changed = await shopify.client.data(UPDATE, id=number, input={"uri": other})
    assert changed["webhookSubscriptionUpdate"]["webhookSubscription"] == {"uri": other}
    listed = await shopify.client.data(SUBSCRIPTIONS, first=5, topics=["PRODUCTS_UPDATE"])
    assert listed["webhookSubscriptions"]["nodes"] == [{"id": number, "topic": "PRODUCTS_UPDATE", "uri": other}]
    none = await shopify.client.data(SUBSCRIPTIONS, first=5, topics=["PRODUCTS_DELETE"])
    assert none["webhookSubscriptions"]["nodes"] == []
    deleted = await shopify.client.data(DELETE, id=number)
    assert deleted["webhookSubscriptionDelete"]["deletedWebhookSubscriptionId"] == number
    missing = await shopify.client.data(DELETE, id=number)
    assert missing["webhookSubscriptionDelete"]["userErrors"]


async def test_a_subscription_to_products_needs_their_scope(shopify: WebhookShop) -> None:
    shopify.store.shopify(SHOPIFY.domain).quirks.scopes = ()
    with pytest.raises(AssertionError, match="Access denied"):
        await shopify.create_shopify("PRODUCTS_UPDATE")


async def test_a_bigcommerce_delivery_has_the_documented_body_and_the_hooks_own_headers(
    bigcommerce: WebhookShop,
) -> None:
    await bigcommerce.create_bigcommerce("store/product/updated")
    product_id = next(bigcommerce.catalog.rows()).id
    bigcommerce.catalog.update_product(product_id, title="A")
    (sent,) = await bigcommerce.deliveries()
    body = sent.json()
    assert (sent.method, sent.header("X-Own"), sent.header("Content-Type")) == (
        "POST",
        "own value",
        "application/json",
    )
    assert list(body) == ["scope", "store_id", "data", "hash", "created_at", "producer"]
    assert body["scope"] == "store/product/updated"
    assert body["producer"] == "stores/abc123"
    assert body["data"] == {"type": "product", "id": product_id}
    assert len(body["hash"]) == 40


async def test_changes_of_bigcommerce_products_and_skus_fire_their_scopes(bigcommerce: WebhookShop) -> None:
    for scope in ("store/product/*", "store/sku/*"):
        await bigcommerce.create_bigcommerce(scope)
    catalog = bigcommerce.catalog
    product = next(iter(catalog.products()))
    variant = product.variants[0].id
    part = {"product_id": product.id, "variant_id": variant}
    steps: list[tuple[Callable[[], object], list[tuple[str, object]]]] = [
        (
            lambda: catalog.update_product(product.id, title="A"),
            [("store/product/updated", {"type": "product", "id": product.id})],
        ),
        (
            lambda: catalog.update_variant(variant, stock=5),
            [
                ("store/sku/updated", {"type": "sku", "id": variant, "sku": part}),
                (
                    "store/sku/inventory/updated",
                    {"type": "sku", "id": variant, "inventory": {**part, "method": "absolute"}},
                ),
            ],
        ),
        (lambda: catalog.update_variant(variant, touch=False, stock=6), []),
        (
            lambda: catalog.delete_product(product.id),
            [("store/product/deleted", {"type": "product", "id": product.id})],
        ),
    ]
    for act, expected in steps:
        bigcommerce.listener.received.clear()
        act()
        found = [(one.json()["scope"], one.json()["data"]) for one in await bigcommerce.deliveries()]
        assert sorted(found, key=str) == sorted(expected, key=str)


async def test_hooks_are_listed_changed_and_deleted(bigcommerce: WebhookShop) -> None:
    number = await bigcommerce.create_bigcommerce("store/product/*")
    changed = await bigcommerce.bigcommerce("PUT", f"/{number}", is_active=False)
    assert changed.body["data"]["is_active"] is False
    assert (await bigcommerce.bigcommerce("GET", "?is_active=true")).body["data"] == []
    (listed,) = (await bigcommerce.bigcommerce("GET")).body["data"]
    assert (listed["id"], listed["scope"], listed["headers"]) == (
        number,
        "store/product/*",
        {"X-Own": "own value"},
    )
    bigcommerce.catalog.add_product()
    assert await bigcommerce.deliveries() == []
    assert (await bigcommerce.bigcommerce("DELETE", f"/{number}")).status == 200
    assert (await bigcommerce.bigcommerce("GET", f"/{number}")).status == 404
    assert (await bigcommerce.bigcommerce("POST", scope="store/product/*")).status == 422
    assert (await bigcommerce.bigcommerce("POST", scope="x", destination="https://a.example")).status == 422
