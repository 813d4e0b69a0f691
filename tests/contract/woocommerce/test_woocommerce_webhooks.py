"""Every recorded delivery of two WooCommerce versions: its signature, and the products that it names."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import Any

import pytest

from connector_svc.domain.shop import Shop
from connector_svc.domain.webhook import (
    Delivery,
    DeliveryHeaders,
    VerifiedWebhook,
    WebhookKind,
    WebhookSignatureInvalid,
)
from connector_svc.platforms.base import Secret
from connector_svc.platforms.woocommerce import WooCommercePlatform
from connector_svc.platforms.woocommerce.webhooks import WooCommerceWebhookFormat
from connector_svc.webhooks import WebhookVerifier
from tests.contract.woocommerce.recorded_webhooks import (
    RecordedDelivery,
    indexed_deliveries,
    recorded_deliveries,
    recorded_delivery,
)
from tests.fakes.listed_platform import ListedPlatform
from tests.fakes.webhook_deliveries import ListedSecrets

SHOP = Shop("woocommerce", "store.example")
PLATFORM = ListedPlatform(name="woocommerce", domain_pattern=WooCommercePlatform.domain_pattern)
GIVEN = "the secret as it was given, entities decoded"
VERSIONS = ("8_2_2", "10_5_0")


class NoMetrics:
    def record_webhook(self, platform: str, outcome: str) -> None: ...


async def verify(recorded: RecordedDelivery, secret: str | None = None) -> VerifiedWebhook:
    """Verify a delivery with a secret, by default the one that the store keeps."""
    known = secret or recorded.secret_stored or "of a ping"
    verifier = WebhookVerifier(
        {"woocommerce": WooCommerceWebhookFormat()}, ListedSecrets({SHOP: (known,)}), NoMetrics()
    )
    # The stores were called by their IP address, so that their headers name no domain.
    headers = DeliveryHeaders(recorded.headers)
    return await verifier.verify(PLATFORM, Delivery(headers=headers, body=recorded.body, domain=SHOP.domain))


def expected_ids(recorded: RecordedDelivery) -> tuple[set[str], set[str]]:
    """Return the products and the variants that a delivery names, by the raw JSON."""
    body: dict[str, Any] = json.loads(recorded.body)
    topic = recorded.topic
    if topic == "product.deleted":
        return {str(body["id"])}, {str(body["id"])}
    if topic.startswith("product."):
        number = body.get("parent_id") or body.get("id")
        return ({str(number)} if number else set()), set()
    if not topic.startswith("action.") or body["arg"] == []:
        return set(), set()
    number, kind = str(body["arg"]), topic.removeprefix("action.woocommerce_")
    if "stock" in kind:
        return {number}, {number}
    return (set(), {number}) if kind.endswith("_variation") else ({number}, set())


async def test_every_recorded_delivery_is_verified_and_names_what_its_body_names() -> None:
    kinds: dict[WebhookKind, int] = defaultdict(int)
    for recorded in recorded_deliveries():
        if recorded.secret_stored == "":
            continue
        found = await verify(recorded)
        kinds[found.content.kind] += 1
        assert found.shop == SHOP
        if recorded.is_ping:
            assert found.content.kind is WebhookKind.PING, recorded.name
            continue
        products, variants = expected_ids(recorded)
        assert set(found.content.product_ids) == products, recorded.name
        assert set(found.content.variant_ids) == variants, recorded.name
        assert found.content.topic == recorded.topic
        is_named = bool(products or variants)
        assert found.content.kind is (WebhookKind.PRODUCTS if is_named else WebhookKind.IGNORED), recorded.name
    # Without an id are 28 of stock topics, 6 of orders, and 6 errors.
    assert kinds == {WebhookKind.PRODUCTS: 259, WebhookKind.PING: 20, WebhookKind.IGNORED: 40}


def test_every_recorded_signature_is_made_again_also_with_the_empty_secret() -> None:
    webhook_format = WooCommerceWebhookFormat()
    signed = [one for one in recorded_deliveries() if not one.is_ping]
    assert len(signed) == 301
    assert sum(one.secret_stored == "" for one in signed) == 2
    for recorded in signed:
        assert recorded.secret_stored is not None
        delivery = Delivery(headers=DeliveryHeaders(recorded.headers), body=recorded.body)
        assert webhook_format.is_signed(delivery, Secret(recorded.secret_stored)), recorded.name


def test_each_delivery_that_came_is_recorded_or_repeats_a_recorded_one() -> None:
    """Only bytes have a signature. Those that were not kept are pings, which have none, and repetitions."""
    came = indexed_deliveries()
    kept, left_out = ([one for one in came if one.kept is kept] for kept in (True, False))
    assert (len(came), len(kept), len(left_out)) == (457, 321, 136)
    recorded = recorded_deliveries()
    assert Counter((one.store, one.topic) for one in kept) == Counter(
        (one.name.partition("-")[0], one.topic or "ping") for one in recorded
    )
    assert {one.topic for one in left_out if not one.signed} == {"ping"}
    assert {one.topic for one in left_out if one.signed} == {"product.updated"}
    assert Counter(one.scenario[:2] for one in left_out if one.signed) == {"12": 40, "15": 14, "22": 18, "20": 8}
    assert sum(one.signed for one in left_out) == 80


async def test_a_secret_as_it_was_entered_is_valid_unless_the_store_changed_it() -> None:
    entered = [one for one in recorded_deliveries() if one.secret_given]
    assert {GIVEN in one.made_with for one in entered} == {True, False}
    for recorded in entered:
        if GIVEN in recorded.made_with:
            await verify(recorded, recorded.secret_given)
        else:
            with pytest.raises(WebhookSignatureInvalid):
                await verify(recorded, recorded.secret_given)


async def test_no_recorded_delivery_is_valid_with_another_secret() -> None:
    for recorded in recorded_deliveries():
        if not recorded.is_ping:
            with pytest.raises(WebhookSignatureInvalid):
                await verify(recorded, "another-secret")


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_variation_names_its_product(version: str) -> None:
    found = (await verify(recorded_delivery(f"{version}-06-update-variation-01"))).content
    assert (found.product_ids, found.variant_ids) == (("66",), ())


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_trashed_id_may_be_a_product_or_a_variation(version: str) -> None:
    names = (f"{version}-09-trash-variable-0{number}" for number in range(1, 5))
    found = [(await verify(recorded_delivery(name))).content for name in names]
    assert {one.product_ids for one in found} == {("243",), ("241",), ("242",), ("240",)}
    assert all(one.variant_ids == one.product_ids for one in found)


@pytest.mark.parametrize("version", VERSIONS)
async def test_what_product_topics_do_not_report_is_reported_by_actions(version: str) -> None:
    """REST force deletes send nothing under `product.deleted`."""
    deleted = (await verify(recorded_delivery(f"{version}-30-action-topics-force-02"))).content
    variation = (await verify(recorded_delivery(f"{version}-30-action-topics-variation-force-01"))).content
    stock = (await verify(recorded_delivery(f"{version}-30-action-topics-order-01"))).content
    assert (deleted.product_ids, deleted.variant_ids) == (("249",), ())
    assert (variation.product_ids, variation.variant_ids) == ((), ("100",))
    assert (stock.product_ids, stock.variant_ids) == (("67",), ("67",))


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_signed_error_names_no_product_and_missing_rights_are_reported(version: str) -> None:
    gone = (await verify(recorded_delivery(f"{version}-13-updated-then-deleted-01"))).content
    hidden = (await verify(recorded_delivery(f"{version}-26-user-without-rights-01"))).content
    assert (gone.kind, gone.warning) == (WebhookKind.IGNORED, "")
    assert hidden.kind is WebhookKind.IGNORED
    assert "may not view products" in hidden.warning


async def test_deliveries_of_different_products_may_have_one_id() -> None:
    by_id: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for recorded in recorded_deliveries():
        if not recorded.is_ping and recorded.secret_stored:
            content = (await verify(recorded)).content
            by_id[content.delivery_id].add(content.product_ids)
    assert max(map(len, by_id.values())) > 1
