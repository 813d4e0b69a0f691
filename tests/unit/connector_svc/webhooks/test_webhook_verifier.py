"""What a caller of VerifyWebhook relies on: nothing is used before the signature is verified."""

from __future__ import annotations

import base64
import itertools
import logging
from collections.abc import Iterator
from random import Random

import pytest
from prometheus_client import CollectorRegistry

from connector_svc.domain.errors import TokenServiceUnavailable
from connector_svc.domain.shop import Shop
from connector_svc.domain.webhook import WebhookBodyInvalid, WebhookKind
from connector_svc.metrics import WebhookCounter
from connector_svc.platforms.base import Credentials
from tests.fakes.webhook_deliveries import (
    BIGCOMMERCE,
    SHOPIFY,
    WOOCOMMERCE,
    Headers,
    ListedSecrets,
    bigcommerce_headers,
    shopify_headers,
    signature,
    woocommerce_headers,
)
from tests.unit.connector_svc.webhooks.verifying import SECRETS, Verifying

PRODUCT = b'{"id":788032119674292922,"title":"T-Shirt","type":"simple","parent_id":0}'
HOOK = (
    b'{"scope":"store/product/updated","store_id":"1025646","data":{"type":"product","id":205},'
    b'"hash":"dd70c0976e06b67aaf671e73f49dcb79230ebf9d","created_at":1561479335,"producer":"stores/abc123"}'
)
OTHER = Shop("shopify", "other.myshopify.com")
UNKNOWN = Shop("shopify", "unknown.myshopify.com")
SECRET = SECRETS[SHOPIFY][0]
GENUINE: dict[str, tuple[Headers, bytes]] = {
    "shopify": (shopify_headers(PRODUCT, SECRET), PRODUCT),
    "woocommerce": (woocommerce_headers(PRODUCT, SECRETS[WOOCOMMERCE][0]), PRODUCT),
    "bigcommerce": (bigcommerce_headers(SECRETS[BIGCOMMERCE][0]), HOOK),
}
SIGNATURE_HEADERS = {
    "shopify": "X-Shopify-Hmac-Sha256",
    "woocommerce": "X-WC-Webhook-Signature",
    "bigcommerce": "X-Catalogsync-Secret",
}
SHOP_HEADERS = {
    "shopify": "X-Shopify-Shop-Domain",
    "woocommerce": "X-WC-Webhook-Source",
    "bigcommerce": "X-Catalogsync-Shop",
}


def replaced(headers: Headers, name: str, value: str) -> Headers:
    """Return the headers with another value for one of them."""
    return tuple((one, value if one == name else old) for one, old in headers)


def without(headers: Headers, name: str) -> Headers:
    """Return the headers without one of them."""
    return tuple(pair for pair in headers if pair[0] != name)


def forged(platform: str, random: Random) -> Iterator[tuple[Headers, bytes]]:
    """Yield forgeries without end: wrong, truncated, empty, missing and repeated signatures, and wrong shops."""
    headers, _ = GENUINE[platform]
    name = SIGNATURE_HEADERS[platform]
    value = dict(headers)[name]
    while True:
        # No parser accepts it, so that a parsed body would be another error.
        body = random.randbytes(random.randrange(1, 3_000)) + b"\xff"
        other = signature(body, f"other-secret-{random.random()}")
        yield replaced(headers, name, other), body
        yield replaced(headers, name, value[: random.randrange(1, len(value))]), body
        yield replaced(headers, name, value + random.choice("=A ")), body
        yield replaced(headers, name, ""), body
        yield without(headers, name), body
        yield replaced(headers, name, "%%% é \U0001f600 %%%"), body
        yield (*headers, (name, value)), body
        yield (*headers, (name.upper(), value)), body
        yield (*headers, (SHOP_HEADERS[platform].lower(), "x")), body
        yield without(headers, SHOP_HEADERS[platform]), body
        yield replaced(headers, SHOP_HEADERS[platform], "https://\nx"), body
        yield replaced(headers, name, "A" * 8_000), body


@pytest.mark.parametrize("platform", list(GENUINE))
async def test_1000_forged_deliveries_are_all_rejected_in_the_same_way_and_none_is_parsed(platform: str) -> None:
    verifying = Verifying()
    random = Random(14)
    answers = set()
    for headers, body in itertools.islice(forged(platform, random), 1_000):
        failure = await verifying.reject(headers, body, platform=platform)
        answers.add((failure.reason, failure.message, tuple(failure.metadata.items())))
    assert len(answers) == 1
    assert verifying.parsed == 0
    assert verifying.metrics.outcomes == {(platform, "rejected"): 1_000}


@pytest.mark.parametrize("platform", list(GENUINE))
async def test_the_case_of_header_names_is_ignored(platform: str) -> None:
    verifying = Verifying()
    headers, body = GENUINE[platform]
    for change in (str.lower, str.upper, str.swapcase):
        changed = tuple((change(name), value) for name, value in headers)
        assert (await verifying.verify(changed, body, platform=platform)).content.kind is WebhookKind.PRODUCTS


@pytest.mark.parametrize("platform", ["shopify", "woocommerce"])
async def test_each_byte_of_the_body_is_signed(platform: str) -> None:
    verifying = Verifying()
    headers, body = GENUINE[platform]
    await verifying.verify(headers, body, platform=platform)
    for position in range(len(body)):
        changed = bytearray(body)
        changed[position] ^= 1
        await verifying.reject(headers, bytes(changed), platform=platform)
    await verifying.reject(headers, body + b" ", platform=platform)


async def test_an_unknown_shop_a_shop_without_a_secret_and_a_wrong_signature_look_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    verifying = Verifying(ListedSecrets({**SECRETS, OTHER: ()}))
    failures = [
        await verifying.reject(shopify_headers(PRODUCT, SECRET, shop=UNKNOWN), PRODUCT),
        await verifying.reject(shopify_headers(PRODUCT, SECRET, shop=OTHER), PRODUCT),
        await verifying.reject(shopify_headers(PRODUCT, "wrong"), PRODUCT),
    ]
    assert len({(one.reason, one.message, str(one.metadata)) for one in failures}) == 1
    assert [record.getMessage().removeprefix("webhook rejected: ") for record in caplog.records] == [
        "shopify:unknown.myshopify.com: no credentials",
        "shopify:other.myshopify.com: no webhook secret",
        "shopify:demo.myshopify.com: the signature is missing or wrong",
    ]


async def test_the_secret_of_another_shop_signs_nothing() -> None:
    other = Shop("woocommerce", "other.example")
    verifying = Verifying(ListedSecrets({WOOCOMMERCE: ("a" * 32,), other: ("b" * 32,)}))
    await verifying.verify(woocommerce_headers(PRODUCT, "a" * 32), PRODUCT, platform="woocommerce")
    await verifying.reject(woocommerce_headers(PRODUCT, "b" * 32), PRODUCT, platform="woocommerce")


async def test_both_secrets_of_a_rotation_are_valid_and_no_third_one() -> None:
    verifying = Verifying(ListedSecrets({SHOPIFY: ("old", "new")}))
    for secret in ("old", "new"):
        await verifying.verify(shopify_headers(PRODUCT, secret), PRODUCT)
    await verifying.reject(shopify_headers(PRODUCT, "third"), PRODUCT)


async def test_the_client_secret_of_a_shopify_app_signs_without_being_entered_twice() -> None:
    verifying = Verifying(ListedSecrets({SHOPIFY: (), WOOCOMMERCE: ()}, more={"client_secret": SECRET}))
    await verifying.verify(shopify_headers(PRODUCT, SECRET), PRODUCT)
    headers = woocommerce_headers(PRODUCT, SECRET)
    await verifying.reject(headers, PRODUCT, platform="woocommerce")


async def test_the_address_and_the_headers_must_name_the_same_shop() -> None:
    verifying = Verifying(ListedSecrets({SHOPIFY: (SECRET,), OTHER: (SECRET,)}))
    headers = shopify_headers(PRODUCT, SECRET)
    assert (await verifying.verify(headers, PRODUCT, domain=SHOPIFY.domain)).shop == SHOPIFY
    await verifying.reject(headers, PRODUCT, domain=OTHER.domain)


async def test_the_address_names_the_shop_if_the_headers_do_not() -> None:
    secret = SECRETS[WOOCOMMERCE][0]
    headers = woocommerce_headers(PRODUCT, secret, source="https://127.0.0.1:18445/")
    verifying = Verifying()
    found = await verifying.verify(headers, PRODUCT, platform="woocommerce", domain=WOOCOMMERCE.domain)
    assert found.shop == WOOCOMMERCE
    await verifying.reject(headers, PRODUCT, platform="woocommerce")


async def test_a_shop_whose_home_url_begins_with_www_is_the_shop_of_its_address() -> None:
    secret = SECRETS[WOOCOMMERCE][0]
    headers = woocommerce_headers(PRODUCT, secret, source="https://www.store.example/shop/")
    found = await Verifying().verify(headers, PRODUCT, platform="woocommerce", domain=WOOCOMMERCE.domain)
    assert found.shop == WOOCOMMERCE


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'{"id":-5}', b'{"id":"x"}', b"{" * 100_000, b"\xff"])
@pytest.mark.parametrize("platform", ["shopify", "woocommerce"])
async def test_a_signed_body_that_is_no_delivery_is_named_and_not_quoted(platform: str, body: bytes) -> None:
    make = shopify_headers if platform == "shopify" else woocommerce_headers
    shop = SHOPIFY if platform == "shopify" else WOOCOMMERCE
    verifying = Verifying()
    with pytest.raises(WebhookBodyInvalid, match=shop.domain):
        await verifying.verify(make(body, SECRETS[shop][0]), body, platform=platform)
    assert verifying.metrics.outcomes == {(platform, "body_invalid"): 1}


async def test_secrets_that_cannot_be_read_now_are_no_rejection() -> None:
    class Unavailable(ListedSecrets):
        async def credentials(self, shop: Shop, *, refused: Credentials | None = None) -> Credentials:
            raise TokenServiceUnavailable(shop, "HTTP 503")

    verifying = Verifying(Unavailable({}))
    with pytest.raises(TokenServiceUnavailable):
        await verifying.verify(*GENUINE["shopify"])
    assert not verifying.metrics.outcomes


def test_deliveries_are_counted_by_platform_and_outcome() -> None:
    registry = CollectorRegistry()
    counter = WebhookCounter(registry)
    counter.record_webhook("shopify", "products")
    counter.record_webhook("shopify", "rejected")
    counter.record_webhook("shopify", "rejected")
    for outcome, count in (("products", 1), ("rejected", 2)):
        labels = {"platform": "shopify", "outcome": outcome}
        assert registry.get_sample_value("connector_webhooks_total", labels) == count


async def test_neither_secrets_nor_bodies_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    verifying = Verifying()
    for platform, (headers, body) in GENUINE.items():
        await verifying.verify(headers, body, platform=platform)
        signed = SIGNATURE_HEADERS[platform]
        await verifying.reject(replaced(headers, signed, "forged-value"), b"forged-body", platform=platform)
    text = "".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
    assert len(caplog.records) == len(GENUINE)
    for secret in (*(one for (one,) in SECRETS.values()), "forged-value", "forged-body"):
        assert secret not in text
        assert base64.b64encode(secret.encode()).decode() not in text
