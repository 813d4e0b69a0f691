"""Which products a verified delivery of Shopify or BigCommerce concerns.

Those of WooCommerce are in tests/contract/woocommerce.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from connector_svc.domain.webhook import (
    Delivery,
    DeliveryHeaders,
    InvalidBody,
    WebhookBodyInvalid,
    WebhookContent,
    WebhookKind,
)
from connector_svc.platforms.base import Secret
from connector_svc.platforms.bigcommerce.webhooks import BigCommerceWebhookFormat
from connector_svc.platforms.shopify.webhooks import ShopifyWebhookFormat
from connector_svc.platforms.woocommerce.webhooks import WooCommerceWebhookFormat
from tests.fakes.webhook_deliveries import (
    BIGCOMMERCE,
    SHOPIFY,
    WOOCOMMERCE,
    bigcommerce_headers,
    shopify_headers,
)
from tests.unit.connector_svc.webhooks.verifying import SECRETS, Verifying

Ids = tuple[str, ...]


def shopify(topic: str, body: object) -> WebhookContent:
    """Return what a delivery of Shopify says."""
    raw = json.dumps(body).encode()
    headers = DeliveryHeaders(shopify_headers(raw, "s", topic=topic))
    return ShopifyWebhookFormat().parse(Delivery(headers=headers, body=raw), SHOPIFY)


def bigcommerce(scope: str, data: dict[str, object], **changes: object) -> WebhookContent:
    """Return what a delivery of BigCommerce says."""
    hook = {
        "scope": scope,
        "store_id": "1025646",
        "data": data,
        "hash": "dd70c0976e06b67aaf671e73f49dcb79230ebf9d",
        "created_at": 1561479335,
        "producer": "stores/abc123",
        **changes,
    }
    headers = DeliveryHeaders(bigcommerce_headers("s"))
    return BigCommerceWebhookFormat().parse(Delivery(headers=headers, body=json.dumps(hook).encode()), BIGCOMMERCE)


async def test_a_signature_of_an_independent_implementation_is_valid() -> None:
    """The vector of SQLPage's tests, and what `openssl dgst -sha256 -hmac` makes of it."""
    body = b'{"id":1234567890,"email":"customer@example.com","total_price":"123.45"}'
    value = "QNyObTlKbMx2qDlPF/ZOZcBqg5OgPg+2oky3zldc0Gw="
    secret = Secret("test-webhook-secret")
    for name, webhook_format in (
        ("X-Shopify-Hmac-Sha256", ShopifyWebhookFormat()),
        ("X-WC-Webhook-Signature", WooCommerceWebhookFormat()),
    ):
        delivery = Delivery(headers=DeliveryHeaders([(name, value)]), body=body)
        assert webhook_format.is_signed(delivery, secret)
        assert not webhook_format.is_signed(delivery, Secret("test-webhook-secre"))


@pytest.mark.parametrize(
    ("topic", "body", "product_ids", "variant_ids"),
    [
        ("products/create", {"id": 788032119674292922, "variants": [{"id": 1}]}, ("788032119674292922",), ()),
        ("products/update", {"id": 5, "updated_at": "2026-11-30T10:00:00Z"}, ("5",), ()),
        ("products/update", {"admin_graphql_api_id": "gid://shopify/Product/5"}, ("5",), ()),
        ("products/delete", {"id": 5}, ("5",), ()),
        ("variants/out_of_stock", {"id": 7, "product_id": 5}, ("5",), ()),
        ("variants/in_stock", {"id": 7}, (), ("7",)),
        ("inventory_levels/update", {"inventory_item_id": 3, "location_id": 1, "available": 4}, (), ()),
        ("orders/create", {"id": 9}, (), ()),
        ("app/uninstalled", {"id": 9}, (), ()),
    ],
)
def test_shopify_names_products_and_variants(topic: str, body: object, product_ids: Ids, variant_ids: Ids) -> None:
    found = shopify(topic, body)
    assert (found.product_ids, found.variant_ids, found.topic) == (product_ids, variant_ids, topic)
    assert found.kind is (WebhookKind.PRODUCTS if product_ids or variant_ids else WebhookKind.IGNORED)
    assert found.delivery_id == "b54557e4-bdd9-4b37-8a5f-bf7d70bcd043"
    assert found.triggered_at == datetime(2026, 11, 30, 10, 0, 0, 877041, UTC)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"id": 0},
        {"id": 2**63},
        {"admin_graphql_api_id": "gid://shopify/Product/"},
        {"admin_graphql_api_id": "gid://shopify/Order/5"},
        {"admin_graphql_api_id": "gid://shopify/Product/5/../6"},
        {"admin_graphql_api_id": "gid://shopify/Product/" + "9" * 20},
    ],
)
def test_a_shopify_product_without_an_id_is_invalid(body: object) -> None:
    with pytest.raises(InvalidBody):
        shopify("products/update", body)


@pytest.mark.parametrize("text", ["", "yesterday", "2026-11-30T10:00:00"])
def test_a_time_that_is_none_is_absent(text: str) -> None:
    headers = DeliveryHeaders([("X-Shopify-Topic", "orders/create"), ("X-Shopify-Triggered-At", text)])
    content = ShopifyWebhookFormat().parse(Delivery(headers=headers, body=b"{}"), SHOPIFY)
    assert content.triggered_at is None


@pytest.mark.parametrize(
    ("scope", "data", "product_ids", "variant_ids"),
    [
        ("store/product/created", {"type": "product", "id": 205}, ("205",), ()),
        ("store/product/deleted", {"type": "product", "id": 205}, ("205",), ()),
        (
            "store/product/inventory/updated",
            {"type": "product", "id": 167, "inventory": {"product_id": 167, "method": "absolute", "value": 9}},
            ("167",),
            (),
        ),
        (
            "store/sku/updated",
            {"type": "sku", "id": 461, "sku": {"product_id": 192, "variant_id": 372}},
            ("192",),
            (),
        ),
        (
            "store/sku/inventory/order/updated",
            {"type": "sku", "id": 461, "inventory": {"product_id": 206, "variant_id": 509, "value": 5}},
            ("206",),
            (),
        ),
        ("store/inventory/variant/stock_changed", {"location_id": 1, "variant_id": 509}, (), ("509",)),
        ("store/inventory/product/stock_changed", {"location_id": 1, "product_id": 206}, ("206",), ()),
        ("store/product/metafield/updated", {"type": "product", "id": 5, "resource_id": "205"}, (), ()),
        ("store/order/created", {"type": "order", "id": 250}, (), ()),
        ("store/cart/created", {"type": "cart", "id": "09346904-4175-44fd-be53-f7e598531b6c"}, (), ()),
    ],
)
def test_bigcommerce_names_products_and_variants(
    scope: str, data: dict[str, object], product_ids: Ids, variant_ids: Ids
) -> None:
    found = bigcommerce(scope, data)
    assert (found.product_ids, found.variant_ids, found.topic) == (product_ids, variant_ids, scope)
    assert found.kind is (WebhookKind.PRODUCTS if product_ids or variant_ids else WebhookKind.IGNORED)
    assert found.delivery_id == "dd70c0976e06b67aaf671e73f49dcb79230ebf9d"
    assert found.triggered_at == datetime.fromtimestamp(1561479335, UTC)
    assert found.warning == ""


def test_a_bigcommerce_sku_that_names_neither_product_nor_variant_is_reported() -> None:
    found = bigcommerce("store/sku/updated", {"type": "sku", "id": 461})
    assert (found.kind, found.product_ids, found.variant_ids) == (WebhookKind.IGNORED, (), ())
    assert "neither a product nor a variant" in found.warning


async def test_a_bigcommerce_body_of_another_store_is_invalid() -> None:
    body = b'{"scope":"store/product/updated","producer":"stores/other","data":{"type":"product","id":1}}'
    headers = bigcommerce_headers(SECRETS[BIGCOMMERCE][0])
    with pytest.raises(WebhookBodyInvalid, match="another store"):
        await Verifying().verify(headers, body, platform="bigcommerce")


async def test_a_ping_is_recognised_without_secrets_and_parsers() -> None:
    form = (("content-type", "application/x-www-form-urlencoded; charset=UTF-8"),)
    verifying = Verifying()
    found = await verifying.verify(form, b"webhook_id=4", platform="woocommerce", domain=WOOCOMMERCE.domain)
    assert (found.shop, found.content) == (WOOCOMMERCE, WebhookContent(kind=WebhookKind.PING))
    assert (await verifying.verify(form, b"webhook_id=4", platform="woocommerce")).shop is None
    assert (verifying.provider.asked, verifying.parsed) == (0, 0)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ((("Content-Type", "application/json"),), b"webhook_id=4"),
        ((("Content-Type", "application/x-www-form-urlencoded"),), b"webhook_id=4&id=5"),
        ((("Content-Type", "application/x-www-form-urlencoded"),), b"webhook_id="),
        ((("Content-Type", "application/x-www-form-urlencoded"),), b"webhook_id=" + b"4" * 100),
        (
            (("Content-Type", "application/x-www-form-urlencoded"), ("X-WC-Webhook-Topic", "product.updated")),
            b"webhook_id=4",
        ),
    ],
)
async def test_what_only_resembles_a_ping_must_be_signed(
    headers: tuple[tuple[str, str], ...], body: bytes
) -> None:
    await Verifying().reject(headers, body, platform="woocommerce", domain=WOOCOMMERCE.domain)


async def test_other_platforms_have_no_unsigned_ping() -> None:
    form = (("Content-Type", "application/x-www-form-urlencoded"),)
    for platform, shop in (("shopify", SHOPIFY), ("bigcommerce", BIGCOMMERCE)):
        await Verifying().reject(form, b"webhook_id=4", platform=platform, domain=shop.domain)
